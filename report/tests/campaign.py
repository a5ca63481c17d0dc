"""A campaign of bad inputs: all scripts, with wrong flags and with damaged files, each in a forked child.

    python -m report.tests.campaign 0 1000 --draw     # seed and number of cases; prints every fault and counts

A case is one script in a folder that holds what scripts read: a run of each part, a sweep, a study, results, a book, an
edge list. A fault is a traceback, more than one line on standard error, an exit status other than 0, 1 or 2, more than
20 seconds (of the processor; on a busy machine 120 of the clock), or anything written before exit 2. Damage of a run's
own files that goes unnoticed must also change nothing. Without --draw no figure is rendered, which takes most of the
time.
"""
import contextlib
import importlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import torch
import torch._dynamo  # torch.optim would load it later, in each child

from assets import download
from part1 import benchmark, cli, files, style, sweep
from part2 import parallel
from report import plots, reproduce, studies
from part1.tests.conftest import save_marks

SECONDS = 20
TRAIN = "--num_hidden 3 --batch_size 4 --input_length 3 --eval_size 20 --train_steps 4 --eval_every 2 --device cpu"
SWEEP = ("--preset naive --model_type RNN --palindrome_lengths 4 --seeds 0 1 --num_hidden 3 --batch_size 4 "
         "--eval_size 20 --train_steps 4 --eval_every 2 --device cpu --workers 1")
TEXT = ("--txt_file book.txt --seq_length 5 --lstm_num_hidden 4 --lstm_num_layers 1 --batch_size 4 --train_steps 4 "
        "--print_every 2 --sample_every 2 --eval_fraction 0.2 --device cpu --summary_path summaries")
STUDY = "--txt_file book.txt --seq_length 5 --lstm_num_hidden 4 --batch_size 4 --train_steps 3 --device cpu"
MADE = {  # how the world of a case is made
    "run": ("part1.train", [*TRAIN.split(), "--output", "run"]),
    "text": ("part2.train_text", [*TEXT.split(), "--output", "text"]),
    "sweep": ("part1.sweep", [*SWEEP.split(), "--output", "sweep"]),
    "study": ("part2.study", [*STUDY.split(), "--prompts", "The fox", "--output", "study"]),
    "quick": ("report.reproduce", [])}
READERS = {  # commands, and the folders or files among which they read
    "part1.train --resume --train_steps 6 --output run": ["run"],
    "part1.grads_over_time --output new --batch_size 4 --checkpoint run/checkpoint.pt": ["run/checkpoint.pt"],
    "part1.evaluate --palindrome_lengths 5 9 --eval_size 9 --output new --checkpoint run/checkpoint.pt": [
        "run/checkpoint.pt"],
    "part1.look_inside --output new --checkpoint run/checkpoint.pt": ["run/checkpoint.pt"],
    f"part1.sweep {SWEEP} --output sweep": ["sweep"],
    f"part1.sweep {SWEEP} --output sweep --collect": ["sweep"],
    "part2.train_text --resume --train_steps 6 --output text": ["text", "book.txt"],
    "part2.generate --length 9 --checkpoint text/checkpoint.pt --temperature 1": ["text/checkpoint.pt"],
    "part2.inspect_text --text_file line.txt --output new --checkpoint text/checkpoint.pt": [
        "text/checkpoint.pt", "line.txt"],
    f"part2.study {STUDY} --prompts Fox --output study": ["study", "book.txt"],
    "part3.gcn --edge_list edges.txt --source a --target c": ["edges.txt"],
    **{f"report.plots --results drawn/{name} --figures new": [f"drawn/{name}"] for name in plots.FIGURES},
    "report.build --content content": ["content/results"],
    "report.reproduce": ["quick"], "report.reproduce --collect": ["quick"]}
FLAGGED = [  # further commands whose flags are spoilt
    f"part1.train {TRAIN} --output new", f"part2.train_text {TEXT} --output new",
    "part1.grads_over_time --palindrome_length 5 --num_hidden 3 --seeds 0 --batch_size 4 --output new",
    f"part1.sweep {SWEEP} --output new --list_cells", f"part1.sweep {SWEEP} --output new --cell 0",
    "part1.benchmark --model_type RNN --palindrome_lengths 4 --threads 1 --repeats 1 --memory_lengths 4 "
    "--num_hidden 3 --batch_size 4 --output new",
    "part2.benchmark --updates 9 --txt_file missing --output new",  # it would take minutes
    "part3.benchmark --nodes 10 --rivals --output new", "part3.gcn --figure new",
    "part2.generate --checkpoint text/checkpoint.pt --gen_input The --length 9 --beam_size 2",
    "report.submit --lastname Jansen --output new --skip_tests --without_books", "assets.download --list grimms",
    "report.reproduce --list_cells", "report.reproduce --cell 0"]
VALUES = ["", "-", "--", "---", "=", "abc", "0", "-1", "1.5", "1e3", "nan", "inf", "-inf", "1e999", "1e-320", "9" * 40,
          "2147483647", "9223372036854775807", "0x10", "1_000", "١", "½", " 1", "None", "[1]", "a\nb", "a\tb", "\udcff",
          "\x1b[31m", "é", "日本", "%s", "{}", "..", ".", "/", "~", "~nobody/x", "run", "run/checkpoint.pt", "book.txt",
          "book.txt/x", "missing", "missing/x/y", "loop", "x" * 300, "x/" * 3000, "/dev/null", "/dev/full",
          "/proc/self/mem", "/proc/x", "new/..", "A-B", "A--B", ",", "A-B,", "cuda", "cuda:99", "cpu:1", "mps", "meta",
          "auto", "LSTM", "RNN", "binary_palindrome", "chrono", "sgd", "empty", "latin.txt", "binary"]
# Readers of files that are guarded by hashes: damage is refused or changes nothing.
GUARDED = re.compile(r"part1.train |part2.train_text |part2.generate ")
ENDLESS = {"--train_steps", "--num_samples", "--repeats", "--updates", "--nodes", "--beam_size"}  # where huge is legal


def words(command):
    script, *flags = command.split()
    return script, flags


def copied(world, case, script, flags):
    """Copy what a script may read from `world` to `case`: the run, the folders its flags name, and all single files."""
    case.mkdir()
    named = {"run", *(flag.split("/")[0] for flag in flags)} | ({"quick"} if script == "report.reproduce" else set())
    for path in world.iterdir():
        if path.is_symlink() or not path.is_dir():
            shutil.copy2(path, case, follow_symlinks=False)
        elif path.name in named:
            shutil.copytree(path, case / path.name)


def run_script(script, flags):
    """Run a script in this process as `python -m script flags` would; returns its exit status."""
    module = importlib.import_module(script)
    sys.argv = [f"{script}.py", *flags]
    try:
        return (parallel if script == "part2.train_text" else cli).main(module.parse_args, module.main)
    except SystemExit as stop:
        return stop.code
    except BaseException:
        traceback.print_exc()
        return 70


def prepare(world, draw=False):
    """What all children share: no network, no LaTeX, no workers beside them, and a small quick preset."""
    torch.set_num_threads(1)
    style.plt.rcParams["savefig.dpi"] = 30
    style.save(style.plt.figure(), world / "warm")  # loads fonts
    if not draw:
        style.plt.Figure.savefig = save_marks
    temporary = world.with_name("temporary")
    temporary.mkdir()
    os.environ |= {"PATH": "", "TMPDIR": str(temporary), "GOMP_SPINCOUNT": "1000"}
    download.URL, tempfile.tempdir = "http://127.0.0.1:9/", str(temporary)
    sweep.run_cells = lambda cells, workers: [sweep.run_cell(cell) for cell in cells]
    benchmark.in_new_processes = lambda function, config, jobs, spins=0: [function(config, *job) for job in jobs]
    quick = [studies.GRAPHS[0], studies.sweep_study("lengths", "a sweep", SWEEP),
             studies.Study("gradients", {"gradients.csv": "gradients.csv"},
                           "part1.grads_over_time --seeds 0 --palindrome_length 5 --num_hidden 3")]
    reproduce.PRESETS["quick"] = reproduce.Preset(quick, Path("quick/work"), Path("quick/results"))


def child(folder, script, flags, damage=None):
    """Fork a child that runs the script in `folder`; returns its pid. Its output goes to files beside the folder."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    os.chdir(folder)
    for number, name in (1, "out"), (2, "err"):
        os.dup2(os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace", buffering=1)
    status = 71
    try:
        if damage:
            damage()
            Path(f"{folder}.before").write_text(repr(snapshot(".")))
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))  # or the machine may run out of memory
        status = run_script(script, flags)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def snapshot(folder):
    """Every file and folder below `folder` with a hash of its content; locks apart, which hold nothing."""
    found = {}
    for path, _, names in os.walk(folder):
        found[os.path.relpath(path, folder)] = None
        for name in names:
            file = os.path.join(path, name)
            if name not in (".lock", ".cell.lock") and not os.path.islink(file):
                found[os.path.relpath(file, folder)] = hash(open(file, "rb").read())
    return found


# Damage

def leaves(content, path=()):
    """The paths of all values inside nested dicts, lists and tuples."""
    items = content.items() if isinstance(content, dict) else (
        enumerate(content) if isinstance(content, (list, tuple)) else ())
    for key, value in items:
        yield (*path, key)
        yield from leaves(value, (*path, key))


def replaced(content, path, value):
    """`content` with another value at the place `path`, or for `LOST` without the key."""
    if not path:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    if len(path) == 1 and value is LOST:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return tuple(copy) if isinstance(content, tuple) else copy


LOST = object()
WRONG = [None, True, -1, 0, 3, 10**30, 1.5, float("nan"), float("inf"), "", "text", "\udcff", [], [1], {}, {"a": 1},
         LOST, [[]], "1", "../../x", ["a"] * 3]


def wrong_value(path, chance):
    """Another value somewhere in a JSON file or a checkpoint."""
    if path.suffix == ".json":
        content = json.loads(path.read_bytes())
        wrong = replaced(content, chance.choice([(), *leaves(content)]), chance.choice(WRONG))
        path.write_text(json.dumps(None if wrong is LOST else wrong))
    elif path.suffix == ".pt":
        content = torch.load(path, weights_only=True)
        values = [*WRONG, torch.zeros(2), torch.zeros(0), torch.full((3, 3), float("nan")), torch.zeros(5056).byte()]
        wrong = replaced(content, chance.choice(list(leaves(content))), chance.choice(values))
        torch.save(wrong, path)
    else:
        table(path, chance)


def table(path, chance):
    """Damage as spreadsheets, editors and interrupted copies do to tables."""
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    rows, k = [line.split(",") for line in lines], chance.randrange(max(1, len(lines) - 1))
    column = chance.randrange(len(rows[0]))
    kind = chance.randrange(11)
    if kind == 0:
        path.write_bytes("\r\n".join(lines).replace(",", ";").encode("utf-8-sig"))
    elif kind == 8:
        path.write_bytes("\n".join(lines).replace(",", ";").replace(".", ",").encode("utf-8-sig"))
    elif kind == 9:
        path.write_bytes("\n".join(lines).replace(rows[0][column], f"{rows[0][column]}x", 1).encode())
    elif kind == 10:
        path.write_bytes("\n".join([",".join(rows[0][:1] * len(rows[0])), *lines[1:]]).encode())
    elif kind == 1:
        path.write_bytes("\n".join(",".join(row[:column] + row[column + 1:]) for row in rows).encode())
    elif kind == 2:
        path.write_bytes("\n".join(lines[:k] + [lines[k][:len(lines[k]) // 2]]).encode())
    elif kind == 3:
        path.write_bytes("\n".join(lines[:1] + lines[k:k + 1]).encode())
    elif kind == 4:
        path.write_bytes("\n".join(lines[:k] + [lines[k]] * 2 + lines[k + 1:]).encode())
    elif kind == 5:
        path.write_bytes("\n".join(lines[:k] + lines[k + 1:]).encode())
    else:
        rows[k][min(column, len(rows[k]) - 1)] = chance.choice(
            ["", "text", "nan", "inf", "-1", "0", "1e400", "9" * 30, '"', "1;2", "None", "3.5", "True", "\0", "é"])
        path.write_bytes("\n".join(map(",".join, rows)).encode())


def flip(path, chance):
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 1, 1, 5]) if content else 0):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def other_kind(path, chance):
    path.unlink()
    make = chance.randrange(4)
    if make == 0:
        path.mkdir()
    elif make == 1:
        path.symlink_to(path.name)
    elif make == 2:
        path.symlink_to("nowhere")


DAMAGE = {
    "flip": flip, "wrong value": wrong_value,
    "cut": lambda path, chance: path.write_bytes(path.read_bytes()[:chance.randrange(path.stat().st_size + 1)]),
    "more": lambda path, chance: path.write_bytes(
        path.read_bytes() + chance.choice([b"\n", b"x", b"1,2\n", b"\0" * 9])),
    "other content": lambda path, chance: path.write_bytes(chance.choice(
        [b"", b"\n", b"null", b"[]", b"{}", b"\xff\xfe", b"\0" * 50, b"a,b\n1,2\n", b"PK\x03\x04",
         chance.randbytes(99)])),
    "swapped": lambda path, chance: path.write_bytes(chance.choice(
        [file for file in sorted(Path(".").rglob("*.*")) if file.is_file()]).read_bytes()),
    "other kind": other_kind}


# Cases

def choose(commands, chance):
    """One of the commands, each script being as likely as the others."""
    script = chance.choice(sorted({words(command)[0] for command in commands}))
    return chance.choice([command for command in commands if words(command)[0] == script])


def make_case(world, chance, flags_of):
    """One case: what it is called, the command, its flags now, and what damages the files before (None: nothing)."""
    if chance.random() < 0.5:
        command = choose(READERS, chance)
        path = Path(chance.choice(READERS[command]))
        here = world / path
        path = chance.choice([file.relative_to(world) for file in sorted(here.rglob("*"))
                              if file.is_file() and "lock" not in file.name] if here.is_dir() else [path])
        kind, seed = chance.choice(list(DAMAGE)), chance.random()
        return f"{kind} in {path}", command, words(command)[1], lambda: DAMAGE[kind](path, random.Random(seed))
    command = choose([*READERS, *FLAGGED], chance)
    script, flags = words(command)
    for _ in range(chance.choice([1, 1, 2])):
        flag, value = chance.choice(flags_of[script]), chance.choice(VALUES)
        if flag in ENDLESS and value.isdecimal() and len(value) > 4:
            value = "-3"
        way = chance.randrange(6)
        if way < 3:
            flags = [*flags, flag, value]
        elif way == 3:
            flags = [*flags, f"{flag}={value}"]
        elif way == 4:
            flags = [*flags, flag]
        else:
            at = chance.randrange(2 * len(flags) + 1)  # in the place of a word, or at the end
            flags = [*flags[:at], value, *flags[at + 1:]]
    return "flags", command, flags, None


def faults(name, script, status, seconds, out, err, before, after, reference):
    """What is wrong with how a case ended, as a list of words."""
    wrong = []
    if seconds > SECONDS:
        wrong.append(f"took {seconds:.0f} s")
    elif status not in (0, 1, 2):
        wrong.append(f"exit {status}")
    if "Traceback" in err or "Traceback" in out:
        wrong.append("traceback")
    if err.count("\n") > 1 or status in (1, 2) and err.count("\n") != 1:
        wrong.append(f"{err.count(chr(10))} lines of error")
    if status == 2 and before != after:
        wrong.append(f"wrote {sorted(set(after.items()) ^ set(before.items()), key=str)[:3]}")
    guarded = name.endswith(("metrics.csv", "samples.txt")) or name.endswith("checkpoint.pt") and "value" not in name
    if status == 0 and reference is not None and guarded:
        if re.sub(r"examples/s \d+", "", out) != reference:
            wrong.append("another result")
    return wrong


def campaign(seed, count, draw):
    """Run `count` cases, two at a time, and print the faults; returns their number and the counts of exit statuses."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        folder = Path(folder)
        world = folder / "world"
        make_world(world, draw)
        chance, flags_of, references = random.Random(seed), {}, {}
        for command in [*READERS, *FLAGGED]:
            script, flags = words(command)
            with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
                importlib.import_module(script).parse_args(["--help"])
            flags_of[script] = sorted(set(re.findall(r"--\w+", text.getvalue())) - {"--help"})
        for command in (command for command in READERS if GUARDED.match(command)):
            case = folder / "reference"
            copied(world, case, *words(command))
            _, status = os.waitpid(child(case, *words(command)), 0)
            assert status == 0, (command, Path(f"{case}.err").read_text())
            references[command] = re.sub(r"examples/s \d+", "", Path(f"{case}.out").read_text())
            shutil.rmtree(case)
        found, statuses, running = [], Counter(), {}
        for number in range(count + 1):
            while running and (len(running) == 2 or number == count):
                time.sleep(0.005)
                for pid, (case, label, script, flags, name, start) in list(running.items()):
                    late = time.monotonic() - start > 6 * SECONDS
                    if late:
                        os.killpg(pid, signal.SIGKILL)
                    done, status, used = os.wait4(pid, 0 if late else os.WNOHANG)
                    if done:
                        seconds = 6 * SECONDS if late else used.ru_utime + used.ru_stime
                        status = os.waitstatus_to_exitcode(status)
                        statuses[status] += 1
                        out, err = (Path(f"{case}.{kind}").read_text(errors="replace") for kind in ("out", "err"))
                        before = eval(Path(f"{case}.before").read_text())
                        reference = references.get(" ".join([script, *flags]))
                        if wrong := faults(name, script, status, seconds, out, err, before, snapshot(case), reference):
                            found.append(f"{label}: {', '.join(wrong)}: {' | '.join(err.splitlines()[-2:])[-200:]}")
                            print(found[-1].encode("ascii", "backslashreplace").decode(), flush=True)
                        del running[pid]
                        shutil.rmtree(case)
            if number < count:
                case = folder / f"case{number}"
                name, command, flags, damage = make_case(world, chance, flags_of)
                script, original = words(command)
                copied(world, case, script, original)
                label = f"{number}, {name}, python -m {script} {' '.join(map(repr, flags))}"
                running[child(case, script, flags, damage or (lambda: None))] = (
                    case, label, script, flags, name, time.monotonic())
        return len(found), dict(statuses)


def make_world(world, draw):
    world.mkdir()
    prepare(world, draw)
    (world / "book.txt").write_text("The fox ran. The dog sat. Fox and dog: a fable, and no more.\n" * 9)
    (world / "line.txt").write_text("The fox ran.\n")
    (world / "edges.txt").write_text("# edges\na b\nb c\nc d\n")
    (world / "latin.txt").write_bytes(b"caf\xe9 " * 99)
    (world / "binary").write_bytes(bytes(range(256)))
    (world / "empty").touch()
    (world / "loop").symlink_to("loop")
    shutil.copytree(files.ROOT / "report" / "results", world / "content" / "results")
    for name, (sources, _) in plots.FIGURES.items():
        (world / "drawn" / name).mkdir(parents=True)
        for source in sources:
            lines = (world / "content" / "results" / source).read_text().splitlines(keepends=True)
            kept = lines if source.endswith("json") or name == "speed" else lines[:1] + lines[1::4]
            (world / "drawn" / name / source).write_text("".join(kept))
    for script, flags in MADE.values():
        _, status = os.waitpid(child(world, script, flags), 0)
        assert status == 0, Path(f"{world}.err").read_text()
    for log in world.parent.glob("world.*"):
        log.unlink()


if __name__ == "__main__":
    start = time.monotonic()
    found, statuses = campaign(int(sys.argv[1]), int(sys.argv[2]), "--draw" in sys.argv)
    print(json.dumps({"faults": found, "exit statuses": statuses, "seconds": round(time.monotonic() - start)}))
