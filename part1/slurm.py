"""Sends the cells of a sweep to a Slurm cluster: one task for each that is missing, then a job that collects them.

    python -m part1.sweep --slurm --partition NAME --time 2:00:00        # report.reproduce takes the same flags
    python -m part1.sweep --slurm --dry_run                              # shows the job files, submits nothing

Job files and logs are in OUTPUT/slurm/. A task that Slurm stops saves and, when it runs again, goes on to the same
bits: after a preemption, a lost node or `scontrol requeue`, and at its time limit, shortly before which it puts itself
back into the queue. `scancel` ends it for good, and the same command submits what is missing then.
"""
import os
import re
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentTypeError

from part1 import cli, run

SHORTEST = 3  # minutes of a time limit: Slurm warns one or two before, and a script takes a while to start

JOB = """\
#!/usr/bin/env bash
{options}

cd {root} || exit
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
{command} &
python=$!

# TERM makes python save and end with a status above 128. Slurm sends it to stop a task, and starts the task again after
# a preemption or scontrol requeue, not after scancel. USR1 comes before the time limit: the task queues itself again.
again=no
save() {{ kill -TERM $python 2>/dev/null; }}
trap 'again=yes; echo the time limit is near; save' USR1
trap 'again=no; trap "" USR1; save' TERM
wait $python; status=$?
while kill -0 $python 2>/dev/null; do wait $python; status=$?; done  # a signal ends a wait before python does
if [ $again = yes ] && [ $status -gt 128 ]; then
  scontrol requeue incomplete "{task}"
fi
exit $status
"""


def time_limit(text):
    """An argparse `type`: a time limit in the words of Slurm, of at least `SHORTEST` minutes."""
    if not re.fullmatch("[0-9]{1,9}(:[0-9]{1,9}){0,2}|[0-9]{1,9}-[0-9]{1,9}(:[0-9]{1,9}){0,2}", text):
        raise ArgumentTypeError(f"must be minutes, hours:minutes:seconds or days-hours, not {text!r}")
    numbers = [int(number) for number in re.split("[-:]", text)]
    first = 0 if "-" in text else 1 if len(numbers) == 3 else 2
    if sum(number * minutes for number, minutes in zip(numbers, [24 * 60, 60, 1, 1 / 60][first:])) < SHORTEST:
        raise ArgumentTypeError(f"must be at least {SHORTEST} minutes, to save before its end, not {text}")
    return text


def word(text):
    """An argparse `type`: one word that needs no quotes in a job file."""
    if not re.fullmatch(r"[\w.,:=/()*+-]+", text, re.ASCII):
        raise ArgumentTypeError(f"must be one word, not {text!r}")
    return text


def add_flags(parser):
    """Add the flags about cells and Slurm to `parser`; returns the group of those that exclude each other."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list_cells", action="store_true", help="print the cells, run nothing")
    what.add_argument("--cell", type=cli.number(int, at_least=0), metavar="K", help="run only cell K of --list_cells")
    what.add_argument("--slurm", action="store_true",
                      help="submit the missing cells as a Slurm job array, and a job that collects them afterwards")
    add = parser.add_argument_group("with --slurm").add_argument
    add("--cpus_per_task", "--cpus-per-task", type=cli.positive_int, metavar="N", help="cores a task (default: 1)")
    add("--gres", type=word, help="generic resources a task, for example gpu:1 (default: none)")
    add("--time", type=time_limit, help="time limit of a task, after which it goes back into the queue "
        "(default: 1:00:00)")
    add("--partition", type=word, metavar="NAME", help="partition (default: the cluster's)")
    add("--array_limit", type=cli.positive_int, metavar="N", help="tasks at a time (default: the cluster's limit)")
    add("--dry_run", action="store_true", help="print the job files, write and submit nothing")
    return what


def check(parser, config):
    """End the script when flags for `--slurm` were given without it."""
    for name in ("cpus_per_task", "gres", "time", "partition", "array_limit", "dry_run"):
        if getattr(config, name) and not config.slurm:
            parser.error(f"--{name} is for --slurm, which is missing")


def other_words(argv, *more):
    """The words of a command line without the flags of `add_flags` and the flags `more`, which take a value each."""
    parser = cli.Parser("", "")
    add_flags(parser)
    for flag in more:
        parser.add_argument(flag)
    return parser.parse_known_args(argv)[1]


def cpus():
    """How many cores there are to use: those of the Slurm task, if this is one, not the whole node's."""
    return int(os.environ.get("SLURM_CPUS_PER_TASK") or os.cpu_count())


def run_once(function, *args):
    """`function(*args)`, for one cell; when another process has that at work, say so and leave it to it."""
    try:
        function(*args)
    except run.Busy as busy:
        print(f"{busy}: leaving it to that one")


def ranges(numbers):
    """Ascending whole numbers as Slurm writes them: 0,2-5."""
    pieces = []
    for number in numbers:
        if pieces and number == pieces[-1][1] + 1:
            pieces[-1][1] = number
        else:
            pieces.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in pieces)


def job_file(config, words, cells=()):
    """The text of a job file.

    Args:
        config: parsed flags, with those of `add_flags`.
        words: the script to run and its flags.
        cells: numbers of the cells of a job array, each run with `--cell`; none: a single job.
    """
    limit = f"%{config.array_limit}" if config.array_limit else ""
    options = {"array": ranges(cells) + limit if cells else None, "cpus-per-task": config.cpus_per_task or 1,
               "gres": config.gres, "time": config.time or "1:00:00", "partition": config.partition,
               "output": "cells-%A_%a.log" if cells else "collect-%j.log", "open-mode": "append", "requeue": "",
               "signal": "B:USR1@60"}
    return JOB.format(
        options="\n".join(f"#SBATCH --{name}={value}".rstrip("=") for name, value in options.items()
                          if value is not None),
        root=shlex.quote(str(cli.ROOT)),
        command=shlex.join([sys.executable, "-m", *words]) + (' --cell "$SLURM_ARRAY_TASK_ID"' if cells else ""),
        task="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" if cells else "$SLURM_JOB_ID")


def submit(config, words, missing, collect, folder):
    """Write the job files into `folder` and submit them; with `--dry_run` print them instead.

    Args:
        config: parsed flags, with those of `add_flags`.
        words: the script to run and its flags.
        missing: numbers of the cells to run, ascending.
        collect: further flags with which the script collects what the cells have made.
        folder: of the job files and logs.

    Raises `ValueError` without Slurm, `cli.RunFailed` when it does not take the jobs.
    """
    if not config.dry_run and not shutil.which("sbatch"):
        raise ValueError("there is no sbatch here: --slurm is for a cluster's login node (--dry_run shows the jobs)")
    if re.search(r"[%\\\n]", str(folder)):
        raise ValueError(f"Slurm cannot write logs below a folder with %, \\ or a line break in its name: {folder}")
    jobs = {"cells.sh": job_file(config, words, missing)} if missing else {}
    jobs["collect.sh"] = job_file(config, [*words, *collect])
    if config.dry_run:
        print(f"cd {shlex.quote(str(folder))}")
        for name, text in jobs.items():
            after = " --dependency=afterany:CELLS" if missing and name == "collect.sh" else ""
            print(f"sbatch{after} {name}, which is:\n\n{text}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in jobs.items():
        run.write_atomically(folder / name, text.encode())
    cells = sbatch(folder, "cells.sh") if missing else None
    try:
        last = sbatch(folder, "collect.sh", *([f"--dependency=afterany:{cells}"] if missing else []))
    except cli.RunFailed as error:
        raise cli.RunFailed(f"{error} (job {cells} with the cells is submitted)" if missing else error) from None
    print(f"job {cells} runs {len(missing)} cells, then job {last} collects them" if missing
          else f"every cell is done: job {last} collects them", f"(logs: {run.shorter(folder)})")


def sbatch(folder, name, *flags):
    """Submit the job file `name` from its folder, where its log goes; returns the job's number."""
    done = subprocess.run(["sbatch", "--parsable", *flags, name], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise cli.RunFailed(cli.one_line(done.stderr) or f"sbatch ended with status {done.returncode}")
    return done.stdout.strip().split(";")[0]
