"""What all scripts share: typed flags, errors of one line, exit statuses.

A script is a `parse_args(argv)` and a `main(config)`, joined by `sys.exit(cli.main(parse_args, main))`. It exits with 2
and one line on standard error for a wrong flag or file (`InputError`, `OSError`) or too little memory, with 1 for a
failure in the middle of a run (`RunFailed`), and with 128 + the signal after Ctrl-C, SIGTERM or SIGHUP. Anything else
is a bug and keeps its traceback.
"""
import argparse
import contextlib
import math
import operator
import os
import signal
import sys
import threading
from pathlib import Path


CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


class InputError(ValueError):
    """Something that the user gave is wrong: a flag, a file, an argument. The message is for people."""


class RunFailed(Exception):
    """A run that broke off in the middle; what it had saved is still good."""


class Interrupted(BaseException):
    """A script that the signal `signum` told to stop.

    Like KeyboardInterrupt, not an `Exception`: a library that catches those (tqdm does) must not swallow it.
    """

    def __init__(self, message, signum):
        super().__init__(message, signum)
        self.message, self.signum = message, signum


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """`--help` with every default, except where a flag has none or its help text says it already."""

    def _get_help_string(self, action):
        silent = action.default is None or action.default is False or "(default:" in action.help
        return action.help if silent else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that shows defaults in `--help` and answers a wrong flag with one line and exit status 2."""

    def __init__(self, module, description):
        super().__init__(prog=f"python -m {module}", description=description, allow_abbrev=False,
                         formatter_class=Help)

    def error(self, message):
        print(f"{self.prog}: error: {one_line(message)}", file=sys.stderr)
        self.exit(2)

    def parse_known_args(self, args=None, namespace=None):
        for text in sys.argv[1:] if args is None else args:
            if text.startswith("--") and text.partition("=")[2] == "--":  # argparse would drop the value
                self.error(f"argument {text[:-3]}: expected one argument, not --")
        return super().parse_known_args(args, namespace)

    def parse_typed(self, argv=None):
        """Parse `argv`; `typed` of the result is the set of flags that were given rather than left at their default."""
        defaults = vars(self.parse_args([]))
        config = self.parse_args(argv, argparse.Namespace(**dict.fromkeys(defaults, self)))  # self: not typed
        typed = {name for name, value in vars(config).items() if value is not self}
        return argparse.Namespace(**defaults | {name: getattr(config, name) for name in typed}, typed=typed)


def number(kind, at_least=None, above=None, at_most=None, below=None, infinite=False):
    """An argparse `type`: an `int` or `float` within bounds; NaN never, infinity only where `infinite`."""
    bounds = {"at least": (at_least, operator.ge), "above": (above, operator.gt), "at most": (at_most, operator.le),
              "below": (below, operator.lt)}
    bounds = {words: bound for words, bound in bounds.items() if bound[0] is not None}
    wanted = " and ".join(f"{words} {limit}" for words, (limit, _) in bounds.items())
    wanted = f"must be {'a whole number' if kind is int else 'a number'} {wanted}".rstrip()
    largest = 2**31 - 1 if kind is int else 3.4e38  # larger sizes fit into no memory, larger floats into no float32

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{wanted}, not {text!r}") from None
        if (value != value or abs(value) == math.inf and not infinite
                or not all(compare(value, limit) for limit, compare in bounds.values())):
            raise argparse.ArgumentTypeError(f"{wanted}, not {text}")
        if at_most is None and largest < abs(value) < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is too large")
        return value

    return parse


positive_int = number(int, at_least=1)
positive_float = number(float, above=0)
seed = number(int, at_least=0, at_most=2**63 - 1)


def path_text(text):
    """An argparse `type`: a path as a str. An empty one, as an unset shell variable gives, would be the current folder.

    A shell leaves the ~ of `--output=~/runs` as it is.
    """
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"must name a file or folder, not be {repr(text) if text else 'empty'}")
    return os.path.expanduser(text)


def path(text):
    """An argparse `type`: a `Path`, see `path_text`."""
    return Path(path_text(text))


def cores():
    """The number of processor cores that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # a container's share of the processor; the word max is no number
        quota, period = map(int, CPU_MAX.read_text().split())
        count = min(count, math.ceil(quota / period))
    return count


def out_of_memory(error):
    """Whether `error` is how Python or torch say that something does not fit into memory."""
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "allocate memory", "calculation overflowed"))


def refuse_oversize(numbers):
    """Raise `MemoryError` when `numbers` float32 values exceed this machine's memory: trying could take minutes."""
    if hasattr(os, "sysconf") and 4 * numbers > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise MemoryError


def foreseen(error):
    """Whether the exception `error` is for people, who get one line; any other is a bug, which keeps its traceback."""
    return isinstance(error, (InputError, OSError, RunFailed)) or out_of_memory(error)


def one_line(error):
    """The message of `error` on a single line; an `OSError` as "reason: file"."""
    if out_of_memory(error):
        return "this does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        error = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(filter(None, map(str.strip, str(error).splitlines())))


@contextlib.contextmanager
def deferred_signals():
    """Let signals that end a script wait; yields the list that they are added to. A second Ctrl-C does not wait."""
    received, before = [], {}

    def receive(signum, frame):
        if signum == signal.SIGINT and signum in received:  # a cluster may well send the same SIGTERM twice
            raise KeyboardInterrupt
        received.append(signum)

    if threading.current_thread() is threading.main_thread():  # signals are the main thread's
        for signum in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
            if signal.getsignal(signum) != signal.SIG_IGN:
                before[signum] = signal.signal(signum, receive)
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def stop(signum, frame):
    """A signal handler that ends the script in order, as Ctrl-C does."""
    raise Interrupted(f"{signal.Signals(signum).name} came", signum)


class Stream:
    """Standard output or error, whose faults do not end a script in the middle of its work.

    Characters that its encoding lacks are escaped. After an `OSError` all further output is dropped; the error is kept
    as `error`, unless it only says that the reader has read enough (`… | head`).
    """

    def __init__(self, stream):
        self.stream, self.error = stream or open(os.devnull, "w"), None  # None: it is closed, as by `>&-`

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        encoding = self.stream.encoding or "utf-8"
        self._try(self.stream.write, text.encode(encoding, "backslashreplace").decode(encoding))

    def flush(self):
        self._try(self.stream.flush)

    def _try(self, function, *arguments):
        try:
            function(*arguments)
        except OSError as error:
            self.error = None if isinstance(error, BrokenPipeError) else error
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


def main(parse_args, function, argv=None):
    """Run `function(parse_args(argv))` as a script: returns the exit status and prints errors as one line."""
    for name, handler in {"SIGINT": signal.default_int_handler, "SIGTERM": stop, "SIGHUP": stop}.items():
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), handler)
    with contextlib.redirect_stdout(Stream(sys.stdout)) as out, contextlib.redirect_stderr(Stream(sys.stderr)):
        line, status = None, 0
        try:
            function(parse_args(argv))
        except Interrupted as error:
            line, status = f"stopped: {one_line(error.message)}", 128 + error.signum
        except KeyboardInterrupt:  # outside a training loop there is nothing to save
            line, status = "stopped: interrupted", 128 + signal.SIGINT
        except Exception as error:
            if not foreseen(error):
                raise
            line, status = f"error: {one_line(error)}", 1 if isinstance(error, RunFailed) else 2
        finally:
            out.flush()
        if out.error and not line:
            line, status = f"error: {one_line(out.error)} while writing to standard output", 1
        if line:
            print(line, file=sys.stderr)
    return status
