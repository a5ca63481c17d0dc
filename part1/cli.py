"""What every script of this repository shares: typed flags, one-line errors and exit statuses.

A script is a `parse_args(argv)` and a function of the parsed flags, joined at its end by

    if __name__ == "__main__":
        sys.exit(cli.main(parse_args, train))

| what happens                                                      | one line on standard error  | exit |
| ----------------------------------------------------------------- | --------------------------- | ---- |
| a wrong flag; `ValueError`, `OSError` or no memory before the run | what is wrong               | 2    |
| `RunFailed`: a failure in the middle of a run                     | what happened, what is left | 1    |
| `Interrupted`: Ctrl-C or SIGTERM                                  | how to go on                | 128 + the signal |
"""
import argparse
import math
import os
import signal
import sys
from pathlib import Path

from part1 import processes

ROOT = Path(__file__).resolve().parents[1]


def tell(line):
    """Print the line that says why this script ends: one line, however many processes run it."""
    if processes.speaks():
        print(line, file=sys.stderr)


class RunFailed(Exception):
    """A run that broke off in the middle; what it had saved is still good."""


class Interrupted(BaseException):
    """A run that was told to stop and has saved its state. `signum` is the signal that said so.

    No `Exception`, as KeyboardInterrupt is none: a library that catches those (tqdm does) must not swallow it.
    """

    def __init__(self, message, signum=signal.SIGINT):
        super().__init__(message)
        self.signum = signum


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """`--help` with every default, but where a flag has none or its help text tells it already."""

    def _get_help_string(self, action):
        told = action.default is None or action.default is False or "(default:" in action.help
        return action.help if told else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that shows defaults in `--help` and answers a wrong flag with one line, exit 2."""

    def __init__(self, module, description):
        super().__init__(prog=f"python -m {module}", description=description, allow_abbrev=False,
                         formatter_class=Help)

    def print_help(self, file=None):
        if processes.FIRST:
            super().print_help(file)

    def error(self, message):
        tell(f"{self.prog}: error: {one_line(message)}")
        self.exit(2)

    def parse(self, argv=None):
        """Parse `argv` (default: the command line) and also note in `given` which flags were typed there."""
        config = self.parse_args(argv)
        untouched = object()  # argparse leaves alone what the namespace already holds: defaults stay `untouched`
        typed = self.parse_args(argv, argparse.Namespace(**{name: untouched for name in vars(config)}))
        config.given = sorted(name for name, value in vars(typed).items() if value is not untouched)
        return config


# Sizes beyond this fit into no memory, and float32 has no larger numbers.
LARGEST = {int: 2**31 - 1, float: 3.4e38}


def number(kind, at_least=None, above=None, at_most=None, below=None, infinite=False):
    """An argparse `type`: an `int` or `float` within bounds; NaN never, infinity only where `infinite`.

    Without `at_most` the bound is `LARGEST`.
    """
    bounds = [f"at least {at_least}" if at_least is not None else "", f"above {above}" if above is not None else "",
              f"at most {at_most}" if at_most is not None else "", f"below {below}" if below is not None else ""]
    wanted = " ".join(["a whole number" if kind is int else "a number", " and ".join(filter(None, bounds))]).strip()

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}") from None
        if (value != value or (abs(value) == math.inf and not infinite)
                or (at_least is not None and value < at_least) or (above is not None and value <= above)
                or (at_most is not None and value > at_most) or (below is not None and value >= below)):
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text}")
        if at_most is None and LARGEST[kind] < abs(value) < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is too large")
        return value

    return parse


positive_int = number(int, at_least=1)
positive_float = number(float, above=0)
seed = number(int, at_least=0, at_most=2**63 - 1)


def path(text):
    """An argparse `type`: a `Path`. An empty one, as an unset shell variable gives, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or folder, not be empty")
    return Path(text)


def one_line(error):
    """The message of `error` on a single line; an `OSError` as "reason: file"."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).split())


def out_of_memory(error):
    """Whether `error` is how Python or torch say that something does not fit into memory."""
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "allocate memory", "calculation overflowed"))


def main(parse_args, function, argv=None, torchrun=False):
    """Run `function(parse_args(argv))` as a script: returns the exit status, prints errors as one line.

    With `torchrun` the script may be run by several processes together.
    """
    if processes.LAUNCHED and not torchrun:
        tell("error: torchrun is for part2.train_text alone: start this script with python -m")
        return 2
    config = parse_args(argv)
    try:
        function(config)
        sys.stdout.flush()
        processes.end()
    except (ValueError, OSError, RunFailed, Interrupted) as error:
        if isinstance(error, BrokenPipeError):  # `… | head` has read enough: nothing is wrong
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        status = {RunFailed: 1, Interrupted: 128 + getattr(error, "signum", 0)}.get(type(error), 2)
        word = "stopped" if isinstance(error, Interrupted) else "error"
        tell(f"{word}: {one_line(error)}")
        if isinstance(error, Interrupted):
            processes.end()
        return status
    except (MemoryError, RuntimeError) as error:
        if processes.peer_died(error):
            tell("error: another process of this run could not be reached")
            return 1
        if not out_of_memory(error):
            raise
        tell("error: this does not fit into memory: choose smaller sizes")
        return 2
    except KeyboardInterrupt:  # outside a training loop there is nothing to save
        tell("stopped: interrupted")
        return 128 + signal.SIGINT
    return 0
