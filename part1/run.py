"""What every training run shares, in Part 1 and Part 2: device, seeds, an output folder, checkpoints, resuming.

A run is one folder with `config.json` (its flags), `metrics.csv` (a row per `log`) and `checkpoint.pt` (what it
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
import itertools
import math
import os
import re
import shlex
import sys
import time
from argparse import Namespace

import torch
from tqdm import tqdm

from part1 import cli, files
from part1.checkpoint import LOGS, MAY_CHANGE, NOT_TRAINED, check_flags, finite, load_checkpoint, restore, state_of
from part1.cli import InputError


class Diverged(cli.RunFailed):
    """A run whose numbers are no longer finite: to go on with it would end the same way."""

    def __init__(self, message):
        super().__init__(f"{message}: start again with a lower --learning_rate, in another --output")


def add_flags(parser, train_steps):
    """Add the flags of every training run to `parser`."""
    add = parser.add_argument
    add("--train_steps", type=cli.positive_int, default=train_steps, help="updates; may grow with --resume")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--seed", type=cli.seed, default=0, help="of the weights, the data and everything else random")
    add("--output", type=cli.path, help="folder of the run (default: a fresh one under runs/)")
    add("--resume", action="store_true",
        help="go on with the run in --output, bit-identically with the same number of threads")


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
    run's, except for `MAY_CHANGE` and a --train_steps that grows (which it may not under a schedule planned for it).
    """
    set_up_torch()
    if config.resume:
        if config.output is None:
            raise InputError("--resume needs --output, the folder of the run to go on with")
        path = config.output / "checkpoint.pt"
        saved = load_checkpoint(path, script)["config"]
        check_flags(path, script, saved)
        for name in getattr(config, "typed", set(saved)) - NOT_TRAINED:
            now, then = getattr(config, name), saved[name]
            if now != then and name == "train_steps" and saved.get("schedule") == "cosine":
                raise InputError(f"--train_steps stays {then}: --schedule cosine was planned for so many updates")
            if now != then and name not in MAY_CHANGE and not (name == "train_steps" and now > then):
                raise InputError(f"--{name} is {then} in the run to resume, not {now}: that cannot change "
                                 "(--train_steps may grow)")
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
    for name in ("checkpoint.pt", "best.pt", "config.json", *LOGS):
        if (folder / name).exists():
            raise InputError(f"{folder} already holds a run's {name}: go on with --resume or choose another --output")


def fresh_folder(script):
    """Make a folder under runs/, named after the script and the time, that no other run has; returns its path."""
    name = f"{script}-{time.strftime('%Y%m%d-%H%M%S')}"
    for k in itertools.count(1):
        folder = files.ROOT / "runs" / (name if k == 1 else f"{name}-{k}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder


@contextlib.contextmanager
def open_run(script, config, parts, every, extra=None, quiet=False):
    """Open the folder of a run, yield the `Run` to train with, and after a failure say how to go on.

    Args:
        config: the flags, from `begin`.
        parts: by name, what a resumed run must restore: modules, optimizers, generators.
        every: numbers; a row of metrics comes with every update that one of them divides, and with the last.
        extra: plain data about the run that must be the same when it goes on (Part 2: the book and its vocabulary).
        quiet: print nothing (a sweep shows its own progress).
    """
    folder = config.output or fresh_folder(script)
    files.make_folder(folder)
    with files.locked(folder), cli.deferred_signals() as received:
        if not config.resume:
            refuse_used(folder)  # again, now that nobody else can write to it
        current = Run(script, config, folder, parts, every, extra, quiet, received)
        try:
            yield current
        except Exception as error:
            if isinstance(error, Diverged) or not cli.foreseen(error):
                raise
            raise cli.RunFailed(f"{cli.one_line(error)}; {current.how_to_go_on()}") from error


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
        self.metrics, self.samples = (files.Appended(folder / name, states.get(name)) for name in LOGS)
        self.rows = files.read_csv(self.metrics.path, size=self.metrics.size) if self.metrics.size else []
        last = self.rows[-1]["step"] if self.rows else 0
        last_due = max(self.step // number * number for number in every)
        if last not in (self.step, last_due):
            raise InputError(f"the checkpoint in {folder} is of update {self.step}, its metrics end at {last}")
        grown = self.rows and not due(self.rows[-1]["step"], config, *every)
        if grown:  # the last row ended a shorter run, and a longer one has none there
            self.rows.pop()
            self.metrics.drop_row()
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
                raise Diverged(f"the {name.replace('_', ' ')} became {value} at update {step}")

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
        """Write the checkpoint after update `step`: atomically, once the metrics up to it are on the disk."""
        for name, part in self.parts.items():
            if isinstance(part, torch.nn.Module) and not finite(part.state_dict()):
                raise Diverged(f"the weights of the {name} are no longer finite after update {step}")
        random = {"cpu": torch.get_rng_state(),
                  "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None}
        buffer = io.BytesIO()  # first to memory, so that a full disk is a plain OSError
        torch.save({"script": self.script, "config": self.settings, "step": step,
                    "seconds": time.perf_counter() - self.started, "random": random, "extra": self.extra,
                    "parts": {name: state_of(part) for name, part in self.parts.items()},
                    "files": {log.path.name: log.sync() for log in (self.metrics, self.samples)}}, buffer)
        files.write_atomically(self.folder / "checkpoint.pt", buffer.getvalue())
        self.step = step

    def how_to_go_on(self):
        script = f"-m {self.script}"
        if files.display(files.ROOT) != ".":  # elsewhere the script runs as a file
            script = shlex.quote(files.display(files.ROOT / f"{self.script.replace('.', '/')}.py"))
        folder = shlex.quote(files.display(self.folder))
        return f"saved up to update {self.step}; go on with: python {script} --output {folder} --resume"
