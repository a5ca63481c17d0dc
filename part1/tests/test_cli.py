"""Typed flags, one-line errors, exit statuses, and the `--help` of every script of Part 1."""
import argparse
import importlib
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from part1 import cli

SCRIPTS = sorted(path.stem for path in (cli.ROOT / "part1").glob("*.py") if "cli.main(" in path.read_text()
                 and path.stem != "cli")


# number

@pytest.mark.parametrize("kind, bounds, good, bad", [
    (int, dict(at_least=1), ["1", "2000000000"], ["0", "-1", "1.5", "1e3", "", "one", "nan", "inf"]),
    (int, dict(at_least=0, at_most=9), ["0", "9"], ["-1", "10"]),
    (float, dict(above=0), ["1e-9", "3"], ["0", "-0.0", "-1", "nan", "inf", "-inf", "", "x", "1e999"]),
    (float, dict(above=0, at_most=1), ["1", "0.5"], ["0", "1.0001"]),
    (float, dict(above=0, below=1), ["0.9999"], ["0", "1"]),
    (float, dict(at_least=0, infinite=True), ["0", "inf"], ["nan", "-inf", "-1"]),
    (float, dict(), ["-5", "0"], ["nan", "inf", "-inf"])])
def test_numbers_keep_their_bounds(kind, bounds, good, bad):
    parse = cli.number(kind, **bounds)
    for text in good:
        assert parse(text) == kind(text) and type(parse(text)) is kind
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="^must be a (whole )?number"):
            parse(text)


def test_a_number_says_what_would_be_right():
    with pytest.raises(argparse.ArgumentTypeError, match="^must be a whole number at least 1, not -3$"):
        cli.positive_int("-3")
    with pytest.raises(argparse.ArgumentTypeError, match="^must be a number above 0 and at most 1, not nan$"):
        cli.number(float, above=0, at_most=1)("nan")


@pytest.mark.parametrize("parse, text", [
    (cli.positive_int, str(2**31)), (cli.positive_int, "9" * 400), (cli.positive_float, "1e39"),
    (cli.number(float), "-1e300")])
def test_a_number_that_no_tensor_can_hold_is_too_large(parse, text):
    with pytest.raises(argparse.ArgumentTypeError, match="is too large$"):
        parse(text)


def test_a_seed_is_what_torch_takes():
    assert cli.seed(str(2**63 - 1)) == 2**63 - 1
    for text in ("-1", str(2**63)):
        with pytest.raises(argparse.ArgumentTypeError):
            cli.seed(text)


# Parser

def parser():
    parser = cli.Parser("part1.example", "An example.")
    parser.add_argument("--number", type=cli.positive_int, default=3, help="a number")
    parser.add_argument("--list", type=int, nargs="+", default=[1], help="a list (default: one)")
    parser.add_argument("--path", type=Path, help="a path")
    parser.add_argument("--switch", action="store_true", help="a switch")
    return parser


@pytest.mark.parametrize("argv, given", [
    ([], []), (["--number", "3"], ["number"]), (["--number=4", "--switch"], ["number", "switch"]),
    (["--list", "1"], ["list"]), (["--path", "x", "--number", "3"], ["number", "path"])])
def test_given_are_the_flags_that_were_typed_even_at_their_defaults(argv, given):
    config = parser().parse(argv)
    assert config.given == given
    assert config.number == (4 if "--number=4" in argv else 3) and config.list == [1]
    assert config.switch is ("--switch" in argv)


@pytest.mark.parametrize("argv, message", [
    (["--number", "0"], "argument --number: must be a whole number at least 1, not 0"),
    (["--num", "1"], "unrecognized arguments: --num 1"),
    (["stray"], "unrecognized arguments: stray"),
    (["--number"], "argument --number: expected one argument"),
    (["--list", "a\nb"], r"argument --list: invalid int value: 'a\nb'")])
def test_a_wrong_flag_is_one_line_and_exit_2(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse(argv)
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", f"python -m part1.example: error: {message}\n")


def test_help_tells_each_default_once(capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "a number (default: 3)" in text and text.count("(default:") == 2
    assert "a list (default: one)\n" in text and "a path\n" in text and "a switch\n" in text


# main

@pytest.mark.parametrize("error, status, line", [
    (None, 0, ""),
    (ValueError("two\n  lines"), 2, "error: two lines\n"),
    (OSError(28, "No space left on device", "/x/y"), 2, "error: No space left on device: /x/y\n"),
    (OSError(28, "No space left on device"), 2, "error: No space left on device\n"),
    (OSError("odd"), 2, "error: odd\n"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), 2,
     "error: 'utf-8' codec can't decode byte 0xff in position 0: bad\n"),
    (cli.RunFailed("broke off"), 1, "error: broke off\n"),
    (cli.Interrupted("go on"), 130, "stopped: go on\n"),
    (cli.Interrupted("go on", signal.SIGTERM), 143, "stopped: go on\n"),
    (KeyboardInterrupt(), 130, "stopped: interrupted\n"),
    (MemoryError(), 2, "error: this does not fit into memory: choose smaller sizes\n"),
    (torch.OutOfMemoryError("CUDA out of memory."), 2, "error: this does not fit into memory: choose smaller sizes\n")])
def test_exit_statuses(error, status, line, capsys):
    def function(config):
        assert config == ["flag"]
        if error is not None:
            raise error

    assert cli.main(lambda argv: argv, function, ["flag"]) == status
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), TypeError("a bug"), AssertionError("a bug")])
def test_a_bug_keeps_its_traceback(error):
    def function(config):
        raise error

    with pytest.raises(type(error), match="a bug"):
        cli.main(lambda argv: None, function)


@pytest.mark.parametrize("sizes", [(2**31 - 1, 2**31 - 1), (10**6, 10**7)])
def test_torchs_words_for_too_little_memory_are_known(sizes):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(sizes)
    assert cli.out_of_memory(caught.value)
    assert not cli.out_of_memory(RuntimeError("size mismatch"))


def test_a_reader_that_has_enough_is_no_error():
    script = ("import sys; from part1 import cli\n"
              "sys.exit(cli.main(lambda argv: None, lambda config: [print('line') for _ in range(100000)]))")
    with subprocess.Popen([sys.executable, "-c", script], cwd=cli.ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


# The scripts

def test_all_scripts_are_looked_at():
    assert {"train", "sweep", "grads_over_time"} <= set(SCRIPTS)


def actions(script, monkeypatch):
    """The flags of a script, as argparse keeps them."""
    parsers, parse_known_args = [], cli.Parser.parse_known_args

    def note(self, *args):
        parsers.append(self)
        return parse_known_args(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(cli.Parser, "parse_known_args", note)
        importlib.import_module(f"part1.{script}").parse_args([])
    return parsers[0]._actions


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_every_flag(script, capsys, monkeypatch):
    flags = actions(script, monkeypatch)
    monkeypatch.setenv("COLUMNS", "5000")  # every flag on a line of its own
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(f"part1.{script}").parse_args(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m part1.{script} ")
    for action in flags:
        line, = re.findall(rf"^  (?:-[^ ]+(?: [A-Z]+)?, )?{action.option_strings[-1]}\b.*\n(?:   .*\n)*", text,
                           re.MULTILINE)
        assert action.help and action.help in line
        assert line.count("default:") == (action.dest != "help" and action.nargs != 0 and action.default is not None
                                          or "default:" in action.help), line
    assert "(default: None)" not in text and "(default: False)" not in text


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_flag_takes_a_number_without_bounds(script, monkeypatch):
    for action in actions(script, monkeypatch):  # a bare int or float would let negative sizes, NaN and infinity pass
        assert action.type not in (int, float), action.dest


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("flags", [["--nonsense"], ["--output"], ["stray"]])
def test_every_script_answers_a_wrong_flag_with_one_line(script, flags, refused):
    module = importlib.import_module(f"part1.{script}")
    assert "part1." in refused(module, *flags)


def test_every_script_runs_as_a_file_from_another_folder(tmp_path):
    """One process for all of them, as importing torch takes seconds; it forgets our packages before each script."""
    program = """
import runpy, sys
from pathlib import Path
for script in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] in ("part1", "report")]:
        del sys.modules[name]
    sys.path[0], sys.argv = str(Path(script).parent), [script, "--nonsense"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        print(stop.code)
"""
    files = [cli.ROOT / "part1" / f"{script}.py" for script in SCRIPTS]
    found = subprocess.run([sys.executable, "-c", program, *files], cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.split() == ["2"] * len(files)
    for script, line in zip(SCRIPTS, found.stderr.splitlines(), strict=True):
        assert line == f"python -m part1.{script}: error: unrecognized arguments: --nonsense" or script == "sweep"


def test_infinity_is_a_number_only_where_it_is_asked_for():
    assert cli.number(float, above=0, infinite=True)("inf") == math.inf
