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
SETTINGS = {  # the settings of each sweep as the horizon map calls them
    "official.csv": "course's defaults", "naive.csv": "naive", "adam.csv": "naive, Adam", "forget.csv": "forget bias 1",
    "lengths.csv": "orthogonal or chrono", "longer.csv": "orthogonal or chrono", "latch.csv": "latch"}
LOOKS = {"course's defaults": (style.GREY, "s"), "naive": (style.VERMILION, "v"), "naive, Adam": (style.PURPLE, "^"),
         "forget bias 1": (style.SKY, "<"), "orthogonal or chrono": (style.BLUE, "o"), "latch": (style.GREEN, "D")}


def horizon(sources, path):
    """The share of seeds that solve palindromes of length T, and the updates that takes: a column for each network."""
    curves = {}  # by network and setting, for each T the updates of the seeds, None for one that fails
    for source in sources:
        for row in read_result(source):
            curve = curves.setdefault((row["model_type"], SETTINGS[source.name]), {})
            curve.setdefault(row["palindrome_length"], []).append(
                row["steps"] if row["accuracy"] >= drawing.SOLVED else None)
    models = list(dict.fromkeys(model for model, _ in curves))
    figure, panels = plt.subplots(2, len(models), sharex=True, sharey="row", squeeze=False, figsize=(style.WIDTH, 2.5))
    for (model, name), curve in curves.items():
        color, marker = LOOKS[name]
        upper, lower = panels[:, models.index(model)]
        T = np.array(sorted(curve))
        apart = T * 1.03 ** (list(LOOKS).index(name) - 3)  # intervals beside each other
        solved = [[steps for steps in curve[length] if steps is not None] for length in T]
        share = np.array([len(steps) / len(curve[length]) for steps, length in zip(solved, T)])
        interval = np.array([drawing.wilson(len(steps), len(curve[length])) for steps, length in zip(solved, T)]).T
        look = {"color": color, "marker": marker, "markersize": 3.5, "elinewidth": 0.6, "label": name}
        upper.errorbar(apart, share, np.abs(interval - share), **look)
        if there := [(x, np.median(steps), min(steps), max(steps)) for x, steps in zip(apart, solved) if steps]:
            x, median, low, high = np.array(there).T
            lower.errorbar(x, median, [median - low, high - median], **look)
    for axes, model in zip(panels[0], models):
        axes.set(title=style.MODEL_NAMES.get(model, model), xscale="log", ylim=(-0.04, 1.04))
    for axes in panels[1]:
        axes.set(xlabel="palindrome length $T$", yscale="log")
        axes.yaxis.set_minor_formatter("")
    panels[0, 0].set(ylabel="share of seeds")
    panels[1, 0].set(ylabel="updates")
    handles = {handle.get_label(): handle for axes in panels[0] for handle in axes.containers}
    figure.legend(handles=[handles[name] for name in LOOKS if name in handles], loc="outside lower center",
                  ncols=6, columnspacing=1.0, handlelength=1.2, fontsize=6.5)
    return style.save(figure, path, sources)


def traces(sources, path):
    """What each optimizer does to the recurrent weights of a naive RNN in its first updates."""
    rows = [row for row in read_result(sources[0]) if row["model_type"] == "RNN"]
    figure, panels = plt.subplots(1, 3, figsize=(style.WIDTH, 1.5))
    for optimizer in dict.fromkeys(row["optimizer"] for row in rows):
        own = [row for row in rows if row["optimizer"] == optimizer]
        seeds, steps = (sorted({row[name] for row in own}) for name in ("seed", "step"))
        for axes, name in zip(panels, ("moved", "sigma_1", "slope")):
            values = {(row["seed"], row["step"]): row[name] for row in own}
            style.band(axes, steps, np.array([[values[seed, step] for step in steps] for seed in seeds]),
                       label=optimizer)
    titles = r"$\Vert W_{hh} - W_{hh}^{(0)}\Vert_2$", r"$\sigma_1(W_{hh})$", r"mean of $\tanh'$"
    for axes, title in zip(panels, titles):
        axes.set(title=title, xlabel="update", ylim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return style.save(figure, path, sources)


def binary(sources, path):
    """Learning curves on the binary palindromes of 2020, whose last bit is a 1 in two cases of three."""
    with plt.rc_context(FLAT):
        return drawing.learning_curves(read_result(sources[0]), [2 / 3], path, sources)


def gradients(sources, path):
    """The gradient that reaches each time step, a panel for each state of untrained networks and of trained ones."""
    studies = {title: read_result(source) for title, source in zip(("untrained", "trained"), sources)}
    return drawing.gradients(studies, path, sources, height=1.75)


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
    "horizon": (["lengths.csv", *(name for name in SETTINGS if name != "lengths.csv")], horizon),
    "traces": (["traces.csv"], traces),
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
