"""The main command: run the studies, write their results, draw the figures, and show them on a page or in the report.

    python -m report.reproduce                     # quick: small networks, minutes; everything under runs/quick/
    python -m report.reproduce --preset full       # the studies behind report/results/ and report/report.pdf; hours
    sbatch --array=0-N report/reproduce.sbatch --preset full     # the same on a cluster; --list_cells says what N is
    python -m report.reproduce --preset full --collect     # results and figures of what is done; of all, the report

A study that is interrupted goes on with the same command, and one whose results are there is not run again. Training
takes place under runs/; only small result files and figures leave it.
"""
import sys
from pathlib import Path
from typing import NamedTuple

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, files, style
from part1.cli import InputError
from report import build, page, plots
from report.studies import FULL, QUICK


class Preset(NamedTuple):
    """Studies, the folder they work in, and the folder of their results; figures and page go beside that."""

    studies: list
    work: Path
    results: Path

    def tasks(self):
        """All tasks of the studies; each keeps its number when others are done."""
        return [task for study in self.studies for task in study.tasks(self.work, self.results)]


RUNS = files.ROOT / "runs"
PRESETS = {"quick": Preset(QUICK, RUNS / "quick" / "work", RUNS / "quick" / "results"),
           "full": Preset(FULL, RUNS / "full", files.ROOT / "report" / "results")}


def parse_args(argv=None):
    """Parse the flags of `python -m report.reproduce`."""
    parser = cli.Parser("report.reproduce", "Run the studies, write their results and draw the figures.")
    parser.add_argument("--preset", choices=PRESETS, default="quick",
                        help="quick: small networks, minutes, a page under runs/quick; full: the report's, hours")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list_cells", action="store_true", help="print what can run side by side, run nothing")
    what.add_argument("--cell", type=cli.number(int, at_least=0), metavar="K", help="run only cell K of --list_cells")
    what.add_argument("--collect", action="store_true", help="write results and figures of what is done, train nothing")
    return parser.parse_args(argv)


def write_page(preset):
    """Write the page of what is done, and draw its figures where the results are new; returns the page's path."""
    path, figures = preset.results.with_name("index.html"), preset.results.with_name("figures")
    drawn = b"".join(picture.read_bytes() for picture in figures.glob("*.png"))
    plots.draw(preset.results, figures, [name for name in plots.FIGURES if style.fingerprint(
        plots.sources_of(name, preset.results)).encode() not in drawn])
    page.write(path, [page.Entry(study.name, study.about, study.again, study.done(preset.results),
                                 study.seconds(preset.work)) for study in preset.studies], preset.results, figures)
    return path


def run_task(preset, number):
    """Run one of the preset's tasks, unless it is done or another process is at it."""
    tasks = preset.tasks()
    if number >= len(tasks):
        raise InputError(f"--cell is one of 0 … {len(tasks) - 1}, not {number}")
    _, done, run = tasks[number]
    if not done:
        preset.results.mkdir(parents=True, exist_ok=True)
        try:
            run()
        except files.Busy as busy:
            print(f"{busy}: leaving it to that one")


def run_studies(preset, collect):
    """Run the studies that are not done; yields after each, for the page. With `collect` nothing is trained."""
    for study in preset.studies:
        if not collect and not study.done(preset.results):
            study.check()  # a missing book is an error now, not after hours
    for k, study in enumerate(preset.studies, 1):
        print(f"[{k}/{len(preset.studies)}] {study.about}", flush=True)
        if study.done(preset.results):
            print("its results are there already")
        elif collect and not all(done for _, done, _ in study.tasks(preset.work, preset.results)):
            print("it is not done yet")
        else:
            study.run(preset.work, preset.results)
            yield


def main(config):
    preset, quick = PRESETS[config.preset], config.preset == "quick"
    if config.list_cells:
        for k, (name, done, _) in enumerate(preset.tasks()):
            print(f"{k:4} {name}{'  (done)' if done else ''}")
        return
    if config.cell is not None:
        run_task(preset, config.cell)
        return
    preset.results.mkdir(parents=True, exist_ok=True)
    with files.locked(preset.results):
        if quick:
            print(f"page: {files.display(write_page(preset))} (it grows with every study)")
        for _ in run_studies(preset, config.collect):
            if quick:
                write_page(preset)
        if quick:
            print(f"page: {files.display(write_page(preset))}")
        else:
            plots.draw(preset.results, preset.results.with_name("figures"))
            done = sum(study.done(preset.results) for study in preset.studies)
            print(f"report: {done} of {len(preset.studies)} studies are done" if done < len(preset.studies) else
                  f"report: {build.update(preset.results.parent, preset.results.with_name('report.pdf'))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
