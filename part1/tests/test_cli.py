"""Typed flags, one-line errors, exit statuses, and the `--help` of every script of Part 1."""
import argparse
import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from part1 import cli, files

SCRIPTS = sorted(path.stem for path in (files.ROOT / "part1").glob("*.py") if "sys.exit(cli.main(" in path.read_text()
                 and path.stem != "cli")
NEEDED = {"evaluate": ["--checkpoint", "x"]}  # flags without which a script does not run


@pytest.mark.parametrize("kind, bounds, good, bad", [
    (int, dict(at_least=1), ["1", "2147483647"], ["0", "-1", "1.5", "1e3", "", "one", "nan", "inf", "2147483648"]),
    (int, dict(at_least=0, at_most=2**63 - 1), ["0", str(2**63 - 1)], ["-1", str(2**63)]),
    (float, dict(above=0), ["1e-9", "3"], ["0", "-0.0", "-1", "nan", "inf", "-inf", "", "x", "1e999", "1e39"]),
    (float, dict(above=0, at_most=1), ["1", "0.5"], ["0", "1.0001"]),
    (float, dict(above=0, below=1), ["0.9999"], ["0", "1"]),
    (float, dict(at_least=0, infinite=True), ["0", "inf"], ["nan", "-inf", "-1"]),
    (float, dict(), ["-5", "0"], ["nan", "inf", "-inf", "-1e300"])])
def test_numbers_keep_their_bounds(kind, bounds, good, bad):
    parse = cli.number(kind, **bounds)
    for text in good:
        assert parse(text) == kind(text) and type(parse(text)) is kind
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="^must be a (whole )?number|is too large$"):
            parse(text)


def test_a_number_says_what_would_be_right():
    with pytest.raises(argparse.ArgumentTypeError, match="^must be a whole number at least 1, not -3$"):
        cli.positive_int("-3")
    with pytest.raises(argparse.ArgumentTypeError, match="^must be a number above 0 and at most 1, not nan$"):
        cli.number(float, above=0, at_most=1)("nan")


# Parser

def parser():
    parser = cli.Parser("part1.example", "An example.")
    parser.add_argument("--number", type=cli.positive_int, default=3, help="a number")
    parser.add_argument("--list", type=int, nargs="+", default=[1], help="a list (default: one)")
    parser.add_argument("--path", type=cli.path, help="a path")
    parser.add_argument("--switch", action="store_true", help="a switch")
    return parser


@pytest.mark.parametrize("argv, typed", [
    ([], set()), (["--number", "3"], {"number"}), (["--number=4", "--switch"], {"number", "switch"}),
    (["--list", "1"], {"list"}), (["--path", "x", "--number", "3"], {"number", "path"})])
def test_typed_are_the_flags_that_were_given_even_at_their_defaults(argv, typed):
    config = parser().parse_typed(argv)
    assert config.typed == typed
    assert vars(config) == vars(parser().parse_args(argv)) | {"typed": typed}


@pytest.mark.parametrize("argv, message", [
    (["--number", "0"], "argument --number: must be a whole number at least 1, not 0"),
    (["--num", "1"], "unrecognized arguments: --num 1"),
    (["stray"], "unrecognized arguments: stray"),
    (["--path", ""], "argument --path: must name a file or folder, not be empty"),
    (["--list", "a\nb"], r"argument --list: invalid int value: 'a\nb'"),
    (["--number=--"], "argument --number: expected one argument, not --"),
    (["--list=--"], "argument --list: expected one argument, not --"),
    (["--number=1=--"], "argument --number: must be a whole number at least 1, not '1=--'"),
    (["--path", "a\0b"], r"argument --path: must name a file or folder, not be 'a\x00b'")])
def test_a_wrong_flag_is_one_line_and_exit_2(argv, message, capsys):
    for parse in (parser().parse_args, parser().parse_typed):
        with pytest.raises(SystemExit) as stop:
            parse(argv)
        assert stop.value.code == 2
        assert capsys.readouterr() == ("", f"python -m part1.example: error: {message}\n")


def test_a_path_may_begin_with_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parser().parse_args(["--path=~/x"]).path == tmp_path / "x"
    assert parser().parse_args(["--path=a/~"]).path == Path("a/~")


# main

@pytest.fixture
def signals():
    """Gives the signals back as they were."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGHUP)}
    for signum in before:
        signal.signal(signum, signal.SIG_DFL)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def raises(error):
    def function():
        raise error
    return function


@pytest.mark.parametrize("function, status, line", [
    (lambda: None, 0, ""),
    (raises(cli.InputError("two\n  lines")), 2, "error: two lines\n"),
    (raises(OSError(28, "No space left on device", "/x/y")), 2, "error: No space left on device: /x/y\n"),
    (raises(OSError(28, "No space left on device")), 2, "error: No space left on device\n"),
    (raises(OSError("odd")), 2, "error: odd\n"),
    (raises(cli.RunFailed("broke off")), 1, "error: broke off\n"),
    (raises(cli.Interrupted("go on", signal.SIGTERM)), 143, "stopped: go on\n"),
    (lambda: os.kill(os.getpid(), signal.SIGINT), 130, "stopped: interrupted\n"),
    (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, "stopped: SIGTERM came\n"),
    (lambda: os.kill(os.getpid(), signal.SIGHUP), 129, "stopped: SIGHUP came\n"),
    (raises(MemoryError()), 2, "error: this does not fit into memory\n"),
    (raises(torch.OutOfMemoryError("CUDA out of memory.")), 2, "error: this does not fit into memory\n"),
    (lambda: torch.empty(10**6, 10**7), 2, "error: this does not fit into memory\n"),
    (lambda: torch.empty(2**31 - 1, 2**31 - 1), 2, "error: this does not fit into memory\n")])
def test_exit_statuses(function, status, line, capsys, signals):
    assert cli.main(lambda argv: argv, lambda config: function(), ["flag"]) == status
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("bug", [
    lambda: int("a bug"), lambda: torch.zeros(2) @ torch.zeros(3), lambda: [][0], lambda: "\udc00".encode()])
def test_a_bug_keeps_its_traceback(bug):
    with pytest.raises((ValueError, RuntimeError, IndexError)) as caught:
        cli.main(lambda argv: None, lambda config: bug())
    assert caught.traceback[-1].path.samefile(__file__)


def test_signals_wait_and_are_the_callers_again_and_ignored_ones_stay_so(signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    before = [signal.getsignal(signum) for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)]
    with cli.deferred_signals() as received:
        for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), signum)
    assert received == [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]
    assert before == [signal.getsignal(signum) for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)]
    assert cli.main(lambda argv: None, lambda config: os.kill(os.getpid(), signal.SIGHUP)) == 0


@pytest.mark.parametrize("shell, status, out, err", [
    ("{}", 0, "± 0\n", ""), ("{} | head -1", 0, "± 0\n", ""), ("{} 2>&1 >&- | head -1", 0, "", ""),
    ("{} >&-", 0, "", ""), ("{} 2>&-", 0, "± 0\n", ""), ("{} >&- 2>&-", 0, "", ""),
    ("PYTHONIOENCODING=ascii {}", 0, "\\xb1 0\n", ""),
    ("{} >/dev/full", 1, "", "error: No space left on device while writing to standard output\n"),
    ("{} >/dev/full 2>&1", 1, "", ""), ("{} --help | head -1", 0, "usage: python -m part1.example [-h]\n", "")])
def test_no_fault_of_its_streams_ends_a_script_before_its_work_is_done(shell, status, out, err, tmp_path):
    program = """
import sys
from pathlib import Path
from part1 import cli
def work(config):
    for k in range(10000):
        print("±", k, flush=k < 10)
    print("progress", file=sys.stderr, end="")
    Path("done").touch()
parser = cli.Parser("part1.example", "An example.")
sys.exit(cli.main(parser.parse_args, work))
"""
    (tmp_path / "example.py").write_text(program)
    command = "set -o pipefail; " + shell.format(f"{sys.executable} example.py")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(files.ROOT)})
    assert (done.returncode, done.stdout[:len(out)]) == (status, out)
    assert done.stderr.removeprefix("progress") == err
    assert (tmp_path / "done").exists() != ("--help" in shell)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="cannot see what a process has loaded")
def test_ctrl_c_while_torch_loads_is_no_traceback():
    with subprocess.Popen([sys.executable, "-m", "part1.train", "--nonsense"], cwd=files.ROOT, stderr=subprocess.PIPE,
                          text=True) as process:
        while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGINT


# The scripts

@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_every_flag(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "5000")  # every flag, and every explanation, on a line of its own
    parse_args = importlib.import_module(f"part1.{script}").parse_args
    with pytest.raises(SystemExit) as stop:
        parse_args(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    usage, explained = text.split("\noptions:\n")
    assert usage.startswith(f"usage: python -m part1.{script} ")
    flags = set(re.findall(r"--\w+", usage.split("\n\n")[0]))
    assert len(flags) > 3
    needed = NEEDED.get(script, [])
    defaults = vars(parse_args(needed))
    for flag in flags:
        (explanation,) = re.findall(rf"^  {flag}\b.*?(?:  +|\n   +)(\S.* .*)$", explained, re.MULTILINE)
        has_default = flag not in needed and defaults.get(flag[2:]) not in (None, False) or "(default: " in explanation
        assert explanation.count("default:") == has_default, flag
    assert "(default: None)" not in text and "(default: False)" not in text


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_flag_takes_a_number_without_bounds(script, refused):
    module = importlib.import_module(f"part1.{script}")
    for name, default in vars(module.parse_args(NEEDED.get(script, []))).items():
        if type(default[0] if isinstance(default, list) and default else default) in (int, float):
            for text in ("nan", "1e999", "-1", "9" * 40, "many"):
                assert f"argument --{name}: " in refused(module, f"--{name}={text}")
