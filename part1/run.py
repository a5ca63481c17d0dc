"""What every training run shares, in Part 1 and Part 2: device, seeds, an output folder, checkpoints, resuming.

A run is one folder with `config.json` (its flags), `metrics.csv` (a row per evaluation) and `checkpoint.pt` (what it
takes to go on bit-identically). The train scripts keep their loop in plain sight and use this module like so:

    config, device = run.begin(SCRIPT, config)     # torch's settings, seed; with --resume the flags of that run
    ... build data, model and optimizer from config ...
    with run.open_run(SCRIPT, config, parts, every=[100]) as current:
        for step in current.updates():             # progress bar; Ctrl-C saves and ends here
            ... one update, then now and then ...
            current.log(step, loss=..., accuracy=...)
            current.save(step)
"""
import contextlib
import hashlib
import io
import math
import os
import re
import shlex
import sys
import time
import zipfile
from argparse import Namespace

import torch
from tqdm import tqdm

from part1 import cli, files
from part1.cli import InputError

NOT_TRAINED = {"typed", "output", "resume"}  # flags that say where a run is kept and how it starts
MAY_CHANGE = {"device", "txt_file", "summary_path"}  # on resume, as they say where and not what
CHECKPOINT_KEYS = {"script", "config", "step", "seconds", "parts", "random", "extra", "files"}


def add_flags(parser, train_steps):
    """Add the flags of every training run to `parser`."""
    add = parser.add_argument
    add("--train_steps", type=cli.positive_int, default=train_steps, help="updates; may grow with --resume")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--seed", type=cli.seed, default=0, help="of the weights, the data and everything else random")
    add("--output", type=cli.path, help="folder of the run (default: a fresh one under runs/)")
    add("--resume", action="store_true", help="go on with the run in --output, bit-identically with as many threads")


def choose_device(name):
    """The `torch.device` called `name`; "auto" is CUDA, else MPS, else the CPU. `InputError` when it is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    parsed = re.fullmatch("(cpu|cuda|mps)(?::(0|[1-9][0-9]*))?", name)
    if not parsed:
        raise InputError(f"--device is one of auto, cpu, cuda, cuda:N and mps, not {name!r}")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[parsed[1]]
    if int(parsed[2] or 0) >= count:
        raise InputError(f"there is no device {name} here ({count} of type {parsed[1]})")
    return torch.device(name)


def set_up_torch():
    """Make torch's settings for the whole process: speed where gradients vanish, and repeatable results."""
    torch.set_flush_denormal(True)  # a processor handles denormal numbers nine times slower
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuDNN's LSTM is not repeatable


def generator(seed, purpose):
    """A CPU `torch.Generator` for one `purpose` of the run `seed`: streams of different purposes are independent."""
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def due(step, config, *every):
    """Whether update `step` is the last one of the run, or one that a number of `every` divides."""
    return step == config.train_steps or any(step % number == 0 for number in every)


def begin(script, config):
    """Set up and seed torch for a run; returns its flags, with `--resume` those it was begun with, and its device.

    Raises `InputError` for a missing device, a used folder, and with `--resume` for typed flags that contradict the
    run's, except for `MAY_CHANGE` and a --train_steps that grows.
    """
    set_up_torch()
    if config.resume:
        if config.output is None:
            raise InputError("--resume needs --output, the folder of the run to go on with")
        path = config.output / "checkpoint.pt"
        saved = load_checkpoint(path, script)["config"]
        if set(saved) != set(vars(config)) - NOT_TRAINED:
            raise InputError(f"{path} has other flags than this version of {script}")
        for name in getattr(config, "typed", set(saved)) - NOT_TRAINED:
            now, then = getattr(config, name), saved[name]
            if now != then and name not in MAY_CHANGE and not (name == "train_steps" and now > then):
                raise InputError(f"--{name} is {then} in the run to resume, not {now}: only --train_steps may grow")
            saved[name] = now
        config = Namespace(**saved, output=config.output, resume=True)
    elif config.output is not None:
        refuse_used(config.output)
    device = choose_device(config.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    torch.manual_seed(config.seed)
    return config, device


def refuse_used(folder):
    """Raise `InputError` for a folder that a new run would write over."""
    for name in ("checkpoint.pt", "config.json", "metrics.csv", "samples.txt"):
        if (folder / name).exists():
            raise InputError(f"{folder} already holds a run's {name}: go on with --resume or choose another --output")


def load_checkpoint(path, script):
    """Load a checkpoint that `script` ("part1.train", …) wrote. `InputError` for any other file; runs no code in it."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a checkpoint: is {path / 'checkpoint.pt'} meant?")
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
    if not isinstance(checkpoint, dict) or set(checkpoint) != CHECKPOINT_KEYS or checkpoint["script"] != script:
        raise InputError(f"{path} is not a checkpoint of {script}")
    return checkpoint


@contextlib.contextmanager
def open_run(script, config, parts, every, extra=None, quiet=False):
    """Open the folder of a run, yield the `Run` to train with, and after a failure say how to go on.

    Args:
        config: the flags, from `begin`.
        parts: by name, what a resumed run must restore: modules, optimizers, schedulers, generators.
        every: numbers; a row of metrics comes with every update that one of them divides, and with the last.
        extra: plain data about the run that must be the same when it goes on (Part 2: the book and its vocabulary).
        quiet: print nothing (a sweep shows its own progress).
    """
    folder = config.output or files.ROOT / "runs" / f"{script}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder), cli.deferred_signals() as received:
        if not config.resume:
            refuse_used(folder)  # again, now that nobody else can write to it
        current = Run(script, config, folder, parts, every, extra, quiet, received)
        try:
            yield current
        except Exception as error:
            if not cli.foreseen(error):
                raise
            raise cli.RunFailed(f"{cli.one_line(error)}; {current.how_to_go_on()}") from error


def restore(path, script, parts, extra):
    """Bring `parts` and torch's random state back to the checkpoint `path`; returns its step, seconds and files."""
    checkpoint = load_checkpoint(path, script)
    if checkpoint["extra"] != extra:
        raise InputError(f"the training data is not what {path} was trained on")
    try:
        for name, part in parts.items():
            load = part.set_state if isinstance(part, torch.Generator) else part.load_state_dict
            load(checkpoint["parts"][name])
        torch.set_rng_state(checkpoint["random"]["cpu"])
        if torch.cuda.is_initialized() and checkpoint["random"]["cuda"] is not None:
            torch.cuda.set_rng_state(checkpoint["random"]["cuda"])
        return int(checkpoint["step"]), float(checkpoint["seconds"]), dict(checkpoint["files"])
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} does not fit this run: {cli.one_line(error)[:120]}") from None


class Run:
    """A training run at work, made by `open_run`: `rows` are its metrics so far, `step` that of its last checkpoint."""

    def __init__(self, script, config, folder, parts, every, extra, quiet, received):
        self.script, self.config, self.folder, self.parts, self.extra = script, config, folder, parts, extra
        self.quiet, self.received = quiet, received
        self.settings = {name: value for name, value in vars(config).items() if name not in NOT_TRAINED}
        self.step, seconds, states = 0, 0.0, {}
        if config.resume:
            self.step, seconds, states = restore(folder / "checkpoint.pt", script, parts, extra)
        self.started = time.perf_counter() - seconds
        self.metrics, self.samples = (files.Appended(folder / name, states.get(name))
                                      for name in ("metrics.csv", "samples.txt"))
        self.rows = files.read_csv(self.metrics.path, size=self.metrics.size) if self.metrics.size else []
        grown = self.rows and not due(self.rows[-1]["step"], config, *every)
        if grown:  # the last row ended a shorter run, and a longer one has none there
            self.rows.pop()
            self.metrics.drop_line()
        if grown or not config.resume:  # a new run too: there is something to go on from at any moment
            self.save(self.step)
        for log in (self.metrics, self.samples):
            log.sync(cut=True)
        files.write_json(folder / "config.json", {"script": script, **self.settings})
        self.bar = tqdm(total=config.train_steps, initial=self.step, unit=" updates", dynamic_ncols=True,
                        disable=quiet or not sys.stderr.isatty())

    def updates(self):
        """Yield the numbers of the updates still to do. After a signal, saves and raises `cli.Interrupted`."""
        with self.bar:
            for step in range(self.step + 1, self.config.train_steps + 1):
                yield step
                self.bar.update()
                if signum := self.stop_signal():
                    self.save(step)
                    raise cli.Interrupted(self.how_to_go_on(), signum)

    def stop_signal(self):
        """The signal that ends the run after this update, or 0."""
        return self.received[0] if self.received else 0

    def check_finite(self, step, **values):
        """Stop the run, before it spoils the weights, when one of the named numbers is NaN or infinite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise cli.RunFailed(f"the {name.replace('_', ' ')} became {value} at update {step} "
                                    "(a lower --learning_rate may help)")

    def log(self, step, **values):
        """Add a row of metrics, the update's number, `values` and the seconds trained, and show it."""
        before = self.rows[-1] if self.rows else {"step": 0, "seconds": 0.0}
        row = {"step": step, **values, "seconds": time.perf_counter() - self.started}
        self.rows.append(row)
        self.metrics.append(files.csv_text([row], header=not self.metrics.size))
        rate = (step - before["step"]) * self.config.batch_size / (row["seconds"] - before["seconds"])
        shown = [f"{name} {value:.4g}" for name, value in values.items() if value is not None]
        line = "  ".join([*shown, f"examples/s {rate:.0f}"])
        if not self.bar.disable:
            self.bar.set_postfix_str(line)
        elif not self.quiet:
            print(f"update {step}/{self.config.train_steps}  {line}", flush=True)

    def save(self, step):
        """Write the checkpoint after update `step`: atomically, and when the metrics up to it are on the disk."""
        for name, part in self.parts.items():
            if isinstance(part, torch.nn.Module) and not all(p.isfinite().all() for p in part.parameters()):
                raise cli.RunFailed(f"the weights of the {name} are no longer finite")
        random = {"cpu": torch.get_rng_state(),
                  "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None}
        buffer = io.BytesIO()  # first to memory, so that a full disk is a plain OSError
        torch.save({"script": self.script, "config": self.settings, "step": step,
                    "seconds": time.perf_counter() - self.started, "random": random, "extra": self.extra,
                    "parts": {name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
                              for name, part in self.parts.items()},
                    "files": {log.path.name: log.sync() for log in (self.metrics, self.samples)}}, buffer)
        files.write_atomically(self.folder / "checkpoint.pt", buffer.getvalue())
        self.step = step

    def how_to_go_on(self):
        folder = shlex.quote(files.display(self.folder))
        return f"saved up to update {self.step}; go on with: python -m {self.script} --output {folder} --resume"
