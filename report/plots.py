"""Redraw the figures from the committed results, without any training.

    python -m report.plots                                                 # report/results to report/figures
    python -m report.plots --results runs/quick/results --figures runs/quick/figures

Which figure is drawn from which result file, and by whom, stands in `FIGURES`; `report.reproduce` uses it too.
"""
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from part1 import cli, drawing, files, style
from part1.style import plt
from part2 import drawing as text_drawing
from part3 import drawing as graph_drawing
from part3 import graph
from report.results import making, read_result

FLAT = {"figure.figsize": (style.WIDTH, 1.95), "axes.labelsize": 7}  # curves that need no height: the report is short
SETTINGS = {"lengths.csv": "tuned settings", "naive.csv": "naive settings", "official.csv": "course's defaults"}


def lengths(sources, path):
    """Accuracy against palindrome length, a panel for each sweep: mean, standard deviation and every seed."""
    figure, panels = plt.subplots(1, len(sources), sharey=True, squeeze=False, figsize=(style.WIDTH, 1.85))
    for axes, source in zip(panels[0], sources):
        rows = read_result(source)
        drawing.accuracy(axes, rows)
        ticks = sorted({row["palindrome_length"] for row in rows})
        apart = ticks[-1:]  # labels that do not run into each other
        for T in reversed(ticks[:-1]):
            if apart[0] / T >= (ticks[-1] / ticks[0]) ** (0.055 * len(sources)):
                apart.insert(0, T)
        axes.set(xscale="log", title=SETTINGS[source.name] if len(sources) > 1 else "")
        axes.set_xticks(apart, map(str, apart))
        axes.minorticks_off()
    panels[0, 0].set(ylabel="accuracy")
    panels[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 0.12))
    return style.save(figure, path, sources)


def binary(sources, path):
    """Learning curves on the binary palindromes of 2020."""
    with plt.rc_context(FLAT):
        return drawing.learning_curves(read_result(sources[0]), drawing.CHANCE["binary_palindrome"], path, sources)


def gradients(sources, path):
    """The gradient that reaches each time step, a panel for each state of untrained networks and of trained ones."""
    studies = {title: read_result(source) for title, source in zip(("untrained", "trained"), sources)}
    return drawing.gradients(studies, path, sources)


def text(sources, path):
    """Loss and accuracy of a text model."""
    with plt.rc_context(FLAT):
        return text_drawing.learning_curves(read_result(sources[0]), path, sources)


def graphs(sources, path):
    """How the information of node C spreads over the example graphs: a row for each edition, a panel per update."""
    editions = [read_result(source) for source in sources]
    figure, panels = plt.subplots(len(editions), max(len(edition["path"]) for edition in editions), squeeze=False,
                                  figsize=(style.WIDTH, 0.1 + 0.66 * len(editions)))
    for axes in panels.flat:
        axes.set(xlim=(-0.35, 3.35), ylim=(-0.35, 1.35), aspect="equal")
        axes.axis("off")
    for row, edition in zip(panels, editions):
        nodes = edition["nodes"]
        lists = graph.compress(np.argwhere(np.triu(edition["Atilde"], 1)), nodes)
        source, target = (nodes.index(edition["path"][end]) for end in (0, -1))
        distance, _ = graph.breadth_first(lists, source)
        places = graph_drawing.positions(lists, source)
        for update, axes in zip(range(len(edition["path"])), row):
            graph_drawing.draw_update(axes, lists, places, 11, distance, update, target)
            axes.set_title(f"{edition['edition']}: update 0" if not update else f"update {update}", fontsize=8)
    return style.save(figure, path, sources)


def speed(sources, path):
    """Time per update of the networks from scratch, beside torch's own."""
    return drawing.speed(read_result(sources[0]), path, sources)


FIGURES = {  # the figure's name: the result files it is drawn from (those that there are), and by which function
    "lengths": (["lengths.csv", "naive.csv", "official.csv"], lengths),
    "gradients": (["gradients.csv", "gradients_trained.csv"], gradients),
    "binary": (["binary_curves.csv"], binary),
    "text": (["text_curves.csv"], text),
    "text_tuned": (["text_tuned_curves.csv"], text),
    "text_second": (["text_second_curves.csv"], text),
    "graphs": (["graph_2019.json", "graph_2020.json"], graphs),
    "speed": (["benchmark_part1.csv"], speed),
}


def sources_of(name, folder):
    """The result files in the folder `folder` that the figure `name` is drawn from; none if the first is missing."""
    sources = [folder / source for source in FIGURES[name][0]]
    return [source for source in sources if source.exists()] if sources[0].exists() else []


def draw(folder, figures, names=FIGURES):
    """Draw the figures `names` whose result files are in `folder` into the folder `figures`, all or none of them;
    returns their PNGs. Raises `InputError` for damaged results, or where a file is that was not made here."""
    with tempfile.TemporaryDirectory(prefix="figures-") as scratch:
        for name in names:
            if sources := sources_of(name, folder):
                with making(f"the figure {name}", sources):
                    FIGURES[name][1](sources, Path(scratch) / name)
        drawn = [(figures / path.name, path.read_bytes()) for path in sorted(Path(scratch).iterdir())]
    for path, _ in drawn:
        style.check_replaceable(path)
    for path, content in drawn:
        figures.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, content)
    return [path for path, _ in drawn if path.suffix == ".png"]


def parse_args(argv=None):
    parser = cli.Parser("report.plots", "Redraw the report's figures from result files, without any training.")
    add, report = parser.add_argument, files.ROOT / "report"
    add("--results", type=cli.path, default=report / "results", help="folder of the results")
    add("--figures", type=cli.path, default=report / "figures", help="folder of the figures")
    return parser.parse_args(argv)


def main(config):
    drawn = draw(config.results, config.figures)
    if not drawn:
        raise cli.InputError(f"{files.display(config.results)} holds no results to draw")
    for path in drawn:
        print(files.display(path))


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
