"""What every training run shares, in Part 1 and Part 2: device, seed, output folder, metrics file, checkpoint, resume.

A run is one folder with `config.json` (its flags), `metrics.csv` (a row an evaluation) and `checkpoint.pt` (everything
needed to go on to the same bits). The train scripts keep their loop in plain sight and use this module like so:

    current = run.Run("part1.train", config)       # device, seed; with --resume the checkpoint's flags; writes nothing
    ... build data, model and optimizer from current.config ...
    with current.keep(model=model, optimizer=optimizer, generator=generator):
        for step in current.steps():               # progress bar; Ctrl-C saves and ends here
            ... one update, then now and then ...
            current.log(loss=..., accuracy=...)
            current.save()

The processes that torchrun starts do all of this together, but for `append`, which is the first one's (see
part1/processes.py). The first alone writes and prints.
"""
import os
import sys

# OpenMP threads that spin while they wait make a run on a busy machine tens of times slower. torch reads this once,
# when it is imported, so scripts import this module before torch; afterwards it would only mislead part1/bptt.py.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuDNN's LSTM repeats its bits only with a fixed workspace

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import math
import re
import shlex
import signal
import threading
import time
import zipfile
from argparse import Namespace
from pathlib import Path

import torch
from tqdm import tqdm

from part1 import cli, processes

# Vanishing gradients fill a backward pass with denormal numbers, which the processor handles nine times slower.
# Threads that torch starts later inherit the setting.
torch.set_flush_denormal(True)
torch.backends.cudnn.deterministic = True
torch.backends.cudnn.benchmark = False

NOT_A_SETTING = {"given", "output", "resume"}  # flags that say where and how, not what is trained
CHECKPOINT_KEYS = {"script", "config", "step", "seconds", "parts", "random", "extra", "files"}


def add_flags(parser, train_steps):
    """Add the flags of every training run to `parser`."""
    parser.add_argument("--train_steps", type=cli.positive_int, default=train_steps,
                        help="number of updates; may grow with --resume")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--seed", type=cli.seed, default=0, help="of the weights, the data and everything else random")
    parser.add_argument("--output", type=cli.path, help="folder of the run (default: a fresh one under runs/)")
    parser.add_argument("--resume", action="store_true",
                        help="go on with the run in --output, with as many threads to the same bits")


def choose_device(name):
    """The `torch.device` called `name`; "auto" is CUDA, else MPS, else the CPU. `ValueError` when it is not here.

    Of several processes each gets a GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if processes.SIZE > 1 and name.startswith(("cuda:", "mps")):
        raise ValueError(f"--device of several processes is cpu, or cuda for a GPU each, not {name}")
    if processes.SIZE > 1 and name == "cuda":
        name = f"cuda:{processes.LOCAL_RANK}"
    found = re.fullmatch("(cpu|cuda|mps)(?::([0-9]+))?", name)
    if not found:
        raise ValueError(f"--device is one of auto, cpu, cuda, cuda:N and mps, not {name!r}")
    kind, index = found[1], int(found[2] or 0)
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if index >= here:
        raise ValueError(f"there is no device {name} here ({here} of type {kind})")
    return torch.device(kind, index) if found[2] else torch.device(kind)


def generator(seed, purpose):
    """A CPU `torch.Generator` for one `purpose` of the run `seed`: streams of different purposes are independent."""
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def shorter(path):
    """`path` as seen from here, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


def write_atomically(path, content):
    """Replace the file `path` by the bytes `content`, wholly or not at all, also when the machine loses power."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path, content):
    """Write `content` as indented JSON, atomically."""
    write_atomically(Path(path), (json.dumps(content, indent=2) + "\n").encode())


def csv_bytes(rows):
    """`rows`, dicts with the same keys, as the bytes of a CSV file with a header; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def write_csv(path, rows):
    """Write `rows`, dicts with the same keys, as a CSV file, atomically."""
    write_atomically(Path(path), csv_bytes(rows))


def read_json(path):
    """The content of a JSON file; `ValueError` when it is none."""
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def read_metrics(path):
    """The rows of a `metrics.csv` as dicts: `step` an int, the rest floats or None. A torn last row is left out.

    `ValueError` when another row is damaged, or the file is no such table.
    """
    content = Path(path).read_bytes()
    try:
        whole = content[:content.rfind(b"\n") + 1].decode().splitlines()
        return [{"step": int(row.pop("step")), **{name: float(value) if value else None for name, value in row.items()}}
                for row in csv.DictReader(whole, restval="missing")]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged or not a table of metrics") from None


def load_checkpoint(path, script):
    """Load a checkpoint that `script` ("part1.train", …) wrote. `ValueError` for any other file; runs no code in it."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a checkpoint: is {path / 'checkpoint.pt'} meant?")
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    content = path.read_bytes()
    try:
        # torch writes checksums, but does not check them, and gives random bytes for what looks like a directory.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            whole = archive.testzip() is None and not any(entry.external_attr for entry in archive.infolist())
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True) if whole else None
    except Exception:  # a damaged file fails in any way it likes
        whole = False
    if not whole:
        raise ValueError(f"{path} is torn, damaged or not a checkpoint")
    if (not isinstance(checkpoint, dict) or set(checkpoint) != CHECKPOINT_KEYS
            or not isinstance(checkpoint["config"], dict)):
        raise ValueError(f"{path} is not a checkpoint of this project")
    if checkpoint["script"] != script:
        raise ValueError(f"{path} is a checkpoint of {checkpoint['script']}, not of {script}")
    return checkpoint


def settings_of(checkpoint):
    """The flags of a checkpoint's run, as a `Namespace`."""
    return Namespace(**checkpoint["config"])


class Busy(ValueError):
    """Another process is at work in the folder."""


@contextlib.contextmanager
def locked(folder, name=".lock"):
    """Hold the lock `name` of `folder`, which dies with its process; `Busy` when another process has it."""
    with open(folder / name, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is at work in {folder}") from None
        yield


def _append(file, content):
    """Append to an unbuffered `file` all of `content` or nothing."""
    end = file.tell()
    try:
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
    except OSError:
        file.truncate(end)
        raise


class Run:
    """One training run: made from flags, kept in a folder, stopped and continued at will.

    Args:
        script: name of the train script, which its checkpoints carry.
        config: its parsed flags, with those of `add_flags`.
        quiet: print nothing (a sweep shows its own progress).

    Attributes: `config` (with `resume`, the flags of the run in `config.output`), `device`, `folder`, `rows` (the
    metrics so far, dicts), `step` (the last update that was begun). Raises `ValueError` for a missing device, a folder
    that already holds a run, and for `resume` without a checkpoint or with flags that contradict it.
    """

    def __init__(self, script, config, quiet=False):
        self.script, self.quiet = script, quiet or not processes.FIRST
        self.bar = None
        self.rows, self.step, self.seconds = [], 0, 0.0
        self.files = {}  # length of each file of `append`
        self.signum = 0
        if folder := processes.recall("folder"):  # torchrun starts this run again
            folder = Path(folder)
            config = Namespace(**vars(config) | {"output": folder, "resume": (folder / "checkpoint.pt").exists()})
        if config.resume:
            if config.output is None:
                raise ValueError("--resume needs --output, the folder of the run to go on with")
            self.folder = Path(config.output)
            config = self._resumed(config, load_checkpoint(self.folder / "checkpoint.pt", script))
        else:
            name = f"{script}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
            self.folder = Path(config.output or cli.ROOT / "runs" / name)
            self._refuse_used_folder()
        self.config = config
        self.device = choose_device(config.device)
        processes.start(self.device)
        self.folder, *_ = processes.gather(self.folder)  # the others have chosen another name for a fresh one
        torch.manual_seed(config.seed)

    def _resumed(self, config, checkpoint):
        """The checkpoint's flags; those typed now must agree, but for --device and a --train_steps that grows."""
        saved = checkpoint["config"]
        if set(saved) != set(vars(config)) - NOT_A_SETTING:
            raise ValueError(f"{self.folder / 'checkpoint.pt'} has other flags than this version of {self.script}")
        saved = Namespace(**saved, output=config.output, resume=True)
        for name in set(getattr(config, "given", vars(saved))) - NOT_A_SETTING:
            now, then = getattr(config, name), getattr(saved, name)
            if name == "train_steps" and now < then:
                raise ValueError(f"--train_steps may grow with --resume, from {then}, not shrink to {now}")
            if name not in ("train_steps", "device") and now != then:
                raise ValueError(f"--{name} is {then} in the run to resume, not {now}")
            setattr(saved, name, now)
        return saved

    def _refuse_used_folder(self):
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file, not a folder")
        if (self.folder / "checkpoint.pt").exists():
            raise ValueError(f"{self.folder} already holds a run: go on with --resume or choose another --output")
        for name in ("config.json", "metrics.csv"):  # a run writes its checkpoint first, so these are somebody else's
            if (self.folder / name).exists():
                raise ValueError(f"{self.folder} holds a {name} but no checkpoint: choose another --output")

    @contextlib.contextmanager
    def keep(self, rows_every, extra=None, **parts):
        """Open the folder, and with `resume` restore `parts` from it; then train inside this context.

        Args:
            rows_every: numbers; a row of metrics comes with every update that one of them divides, and with the last.
            extra: plain data about the run that must be the same when it goes on (Part 2: the book and its vocabulary).
            parts: what a resumed run must restore: modules, optimizers, schedulers, generators.
        """
        self.parts, self.extra = parts, extra
        with contextlib.ExitStack() as stack:
            if processes.FIRST:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder))
            if self.config.resume:
                self._restore(rows_every)
            else:
                if processes.FIRST:
                    self._refuse_used_folder()  # again, now that nobody else can write to it
                    processes.remember("folder", str(self.folder.absolute()))
                self._own_stream()
                self.save()
            if processes.FIRST:
                write_json(self.folder / "config.json", {"script": self.script, **self._settings()})
                self.metrics = stack.enter_context(open(self.folder / "metrics.csv", "ab", buffering=0))
            stack.enter_context(self._signals())
            self.first, self.seconds_before = self.step, self.seconds
            self.started = time.perf_counter() - self.seconds
            try:
                yield self
            except OSError as error:
                raise cli.RunFailed(f"{cli.one_line(error)}; {self._how_to_go_on()}") from error
            except (MemoryError, RuntimeError) as error:
                if processes.peer_died(error):
                    raise cli.RunFailed(f"another process of this run died; {self._how_to_go_on()}") from error
                if not cli.out_of_memory(error):
                    raise
                raise cli.RunFailed(f"out of memory on {self.device}; {self._how_to_go_on()}") from error

    def steps(self):
        """Yield the numbers of the updates still to do, 1 to `config.train_steps`, with a progress bar on a terminal.

        After an update in which Ctrl-C or SIGTERM came, to any process, saves and raises `cli.Interrupted`.
        """
        total = self.config.train_steps
        hidden = self.quiet or not sys.stderr.isatty()
        with tqdm(total=total, initial=self.step, unit=" updates", disable=hidden, dynamic_ncols=True) as self.bar:
            for step in range(self.step + 1, total + 1):
                self.step = step
                yield step
                self.bar.update()
                if signum := processes.largest(self.signum):
                    self.save()
                    raise cli.Interrupted(self._how_to_go_on(), signum)

    def due(self, *every):
        """Whether the update at work is one that a number of `every` divides, or the last."""
        return self.step == self.config.train_steps or any(self.step % number == 0 for number in every)

    def check_finite(self, **values):
        """Stop the run, before it spoils the weights, when one of the named numbers is NaN or infinite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise cli.RunFailed(f"the {name} became {value} at update {self.step} (a lower --learning_rate "
                                    f"may help); {self._how_to_go_on()}")

    def log(self, **values):
        """Add a row of metrics: the update's number, `values`, and the seconds trained; show it."""
        self.seconds = time.perf_counter() - self.started
        row = {"step": self.step, **values, "seconds": self.seconds}
        if processes.FIRST:
            header, line = csv_bytes([row]).splitlines(keepends=True)
            _append(self.metrics, line if self.metrics.tell() else header + line)
        self.rows.append(row)
        shown = {name: f"{value:.4g}" for name, value in values.items() if value is not None}
        updates_per_second = (self.step - self.first) / (self.seconds - self.seconds_before)
        shown["examples/s"] = f"{updates_per_second * self.config.batch_size:.0f}"
        if self.bar is not None and not self.bar.disable:
            self.bar.set_postfix(shown)
        elif not self.quiet:
            print(f"update {self.step}/{self.config.train_steps}  "
                  + "  ".join(f"{name} {value}" for name, value in shown.items()), flush=True)

    def append(self, name, text):
        """Append `text` to the run's file `name`; what came after the checkpoint is cut when the run goes on."""
        unknown = self.config.resume and name not in self.files  # then all it holds came after the checkpoint
        with open(self.folder / name, "wb" if unknown else "ab", buffering=0) as file:
            _append(file, text.encode())
            os.fsync(file.fileno())
            self.files[name] = file.tell()

    def save(self):
        """Write the checkpoint: atomically, and after the metrics up to it are on the disk. All processes call this."""
        for name, part in self.parts.items():
            if isinstance(part, torch.nn.Module) and not all(p.isfinite().all() for p in part.parameters()):
                raise cli.RunFailed(f"the weights of the {name} are no longer finite; {self._how_to_go_on()}")
        if self.step:
            self.seconds = time.perf_counter() - self.started
            if processes.FIRST:
                os.fsync(self.metrics.fileno())
        states = {name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
                  for name, part in self.parts.items()}
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        _, *others = processes.gather(random)
        if processes.FIRST:
            random |= {"others": others} if others else {}
            buffer = io.BytesIO()  # first to memory, so that a full disk is a plain OSError
            torch.save({"script": self.script, "config": self._settings(), "step": self.step, "seconds": self.seconds,
                        "parts": states, "random": random, "extra": self.extra, "files": self.files}, buffer)
            write_atomically(self.folder / "checkpoint.pt", buffer.getvalue())
        processes.gather()  # saved is what the first has written, for all
        self.saved_step = self.step

    def _own_stream(self):
        """Let dropout draw other masks in each process."""
        if not processes.FIRST:
            torch.manual_seed(generator(self.config.seed, f"process {processes.RANK} from update {self.step}")
                              .initial_seed())

    def _settings(self):
        return {name: value for name, value in vars(self.config).items() if name not in NOT_A_SETTING}

    def _restore(self, rows_every):
        """Bring `parts`, random states and metrics back to the checkpoint; rows after it are cut."""
        path = self.folder / "checkpoint.pt"
        checkpoint = load_checkpoint(path, self.script)
        if checkpoint["extra"] != self.extra:
            raise ValueError(f"the training data is not what {path} was trained on")
        try:
            for name, part in self.parts.items():
                state = checkpoint["parts"][name]
                if isinstance(part, torch.Generator):
                    part.set_state(state)
                else:
                    part.load_state_dict(state)
            self.step, self.seconds = int(checkpoint["step"]), float(checkpoint["seconds"])
            random = [checkpoint["random"], *checkpoint["random"].get("others", [])]
            if processes.RANK < len(random):
                torch.set_rng_state(random[processes.RANK]["cpu"])
                if self.device.type == "cuda" and "cuda" in random[processes.RANK]:
                    torch.cuda.set_rng_state(random[processes.RANK]["cuda"], self.device)
            else:
                self._own_stream()
            self.files = dict(checkpoint["files"])
        except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} does not fit this run: {cli.one_line(error)[:120]}") from None
        self.saved_step = self.step
        metrics = self.folder / "metrics.csv"
        # The last row of a run that has grown since may be off the schedule of the longer one.
        wanted = {step for every in rows_every for step in range(every, self.step + 1, every)}
        wanted |= {self.step} & {self.config.train_steps}
        self.rows = [row for row in (read_metrics(metrics) if metrics.exists() else []) if row["step"] in wanted]
        if len(self.rows) < len(wanted):
            raise ValueError(f"{metrics} lacks rows before update {self.step}, which {path} has reached")
        processes.gather()  # all have read: now the first may write
        if not processes.FIRST:
            return
        write_atomically(metrics, csv_bytes(self.rows) if self.rows else b"")
        for name, size in self.files.items():
            if (self.folder / name).exists():
                os.truncate(self.folder / name, min(size, (self.folder / name).stat().st_size))

    @contextlib.contextmanager
    def _signals(self):
        """Let Ctrl-C and SIGTERM wait for the end of the update; a second Ctrl-C ends the run at once."""
        def note(signum, frame):
            if self.signum == signum == signal.SIGINT:  # a cluster may well send the same SIGTERM twice
                raise KeyboardInterrupt
            self.signum = signum

        if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
            yield
            return
        before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _how_to_go_on(self):
        folder = shlex.quote(shorter(self.folder))
        return f"saved up to update {self.saved_step}; go on with: python -m {self.script} --output {folder} --resume"
