"""Checkpoints: all that a training run needs to go on bit-identically, taken from a file only when it is just that.

A checkpoint is a dict as `CONTENT` says, which `part1.run` writes. Whatever else a file holds is refused, before
anything is changed.
"""
import contextlib
import importlib
import io
import zipfile

import torch

from part1.cli import InputError

LOGS = "metrics.csv", "samples.txt"  # the files that a run appends to
NOT_TRAINED = {"typed", "output", "resume"}  # flags that say where a run is kept and how it starts
MAY_CHANGE = {"device", "txt_file", "summary_path"}  # on resume, as they say where and not what
CONTENT = {"script": str, "config": dict, "step": int, "seconds": float, "parts": dict, "random": dict,
           "extra": (dict, type(None)), "files": dict}


def load_checkpoint(path, script):
    """Load a checkpoint that `script` ("part1.train", …) wrote. `InputError` for any other file; runs no code in it."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a checkpoint: try {path / 'checkpoint.pt'}")
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    content = path.read_bytes()
    try:
        # torch writes checksums, but does not check them, and gives random bytes for what looks like a directory.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.testzip() or any(entry.external_attr for entry in archive.infolist()):
                raise zipfile.BadZipFile
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # a damaged file fails in any way it likes
        raise InputError(f"{path} is torn, damaged or not a checkpoint") from None
    if not (isinstance(checkpoint, dict) and checkpoint.keys() == CONTENT.keys() and checkpoint["script"] == script
            and all(isinstance(checkpoint[name], kind) for name, kind in CONTENT.items())):
        raise InputError(f"{path} is not a checkpoint of {script}")
    return checkpoint


def check_flags(path, script, flags):
    """Raise `InputError` unless `flags`, of the checkpoint `path`, could come from a command line of `script`."""
    parsed = {}
    argv = [f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items()
            if value is not None and value is not False]
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        parsed = vars(importlib.import_module(script).parse_args(argv))
    known = {name: value for name, value in parsed.items() if name not in NOT_TRAINED}
    if not (known and fits(flags, known) and all(flags[name] == known[name] for name in set(known) - MAY_CHANGE)):
        raise InputError(f"{path} has other flags than this version of {script}")


def fits(value, like):
    """Whether `value`, of a checkpoint, has the names and types of `like`; its tensors also the shapes, and no NaN."""
    if isinstance(like, dict):
        return (isinstance(value, dict) and value.keys() == like.keys()
                and all(fits(value[name], like[name]) for name in like))
    if type(value) is not type(like):
        return False
    if not isinstance(like, torch.Tensor):
        return True
    alike = (value.dtype, value.shape, value.layout) == (like.dtype, like.shape, like.layout)
    return alike and not value.isnan().any()


def finite(weights):
    """Whether all tensors of the dict `weights` are finite."""
    return all(weight.isfinite().all() for weight in weights.values())


def state_of(part):
    """What a checkpoint holds of a module, an optimizer or a generator: its tensors."""
    if isinstance(part, torch.Generator):
        return part.get_state()
    return part.state_dict()["state"] if isinstance(part, torch.optim.Optimizer) else part.state_dict()


def restore(path, script, parts, extra):
    """Bring `parts` and torch's random state back to the checkpoint `path`; returns its step, seconds and files."""
    checkpoint = load_checkpoint(path, script)
    if checkpoint["extra"] != extra:
        raise InputError(f"the training data is not what {path} was trained on")
    if checkpoint["step"] != 0:  # so that the optimizers have a state to compare with
        for optimizer in (part for part in parts.values() if isinstance(part, torch.optim.Optimizer)):
            for weight in optimizer.param_groups[0]["params"]:
                weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
            optimizer.step()
            optimizer.zero_grad()
    like = {"step": 0, "seconds": 0.0, "parts": {name: state_of(part) for name, part in parts.items()},
            "files": {name: {"size": 0, "sha256": ""} for name in LOGS}}
    try:
        if not all(fits(checkpoint[name], like[name]) for name in like) or not 0 <= checkpoint["seconds"] < 1e9:
            raise ValueError
        for name, part in parts.items():
            state = checkpoint["parts"][name]
            if isinstance(part, torch.Generator):
                part.set_state(state)
            elif isinstance(part, torch.optim.Optimizer):
                part.load_state_dict(part.state_dict() | {"state": state})
            elif finite(state):
                part.load_state_dict(state)
            else:
                raise ValueError
        torch.set_rng_state(checkpoint["random"]["cpu"])
        if torch.cuda.is_initialized() and checkpoint["random"]["cuda"] is not None:
            torch.cuda.set_rng_state(checkpoint["random"]["cuda"])
    except (LookupError, RuntimeError, TypeError, ValueError, AttributeError):
        raise InputError(f"{path} does not fit this run") from None
    return checkpoint["step"], checkpoint["seconds"], checkpoint["files"]
