"""Redraw the figures from the committed results, without any training.

    python -m report.plots                                                 # report/results to report/figures
    python -m report.plots --results runs/quick/results --figures runs/quick/figures

Which figure is drawn from which result file, and by whom, stands in `FIGURES`; `report.reproduce` uses it too.
"""
import csv
import sys
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import benchmark, cli, run, sweep  # before torch, see part1/run.py
import numpy as np

from part1.dataset import BinaryPalindromeDataset
from part2 import study
from part3 import drawing, gcn
from part3 import graph as graph_lists
from report import style


def read_csv(path):
    """The rows of a results table as dicts: whole numbers as int, other numbers as float, empty fields as None.

    Raises `ValueError` for a table without rows.
    """
    def value(field):
        for kind in (int, float):
            try:
                return kind(field)
            except ValueError:
                pass
        return field or None

    with open(path, newline="") as file:
        rows = [{name: value(field) for name, field in row.items()} for row in csv.DictReader(file)]
    if not rows:
        raise ValueError(f"{run.shorter(path)} has no rows")
    return rows


FLAT = {"figure.figsize": (style.WIDTH, 1.95), "axes.labelsize": 7}  # curves that need no height: the report is short
SETTINGS = {"lengths.csv": "tuned settings", "naive.csv": "naive settings", "official.csv": "course's defaults"}


def lengths(sources, path):
    """Accuracy against palindrome length, a panel for each sweep: mean, standard deviation and every seed."""
    figure, panels = style.plt.subplots(1, len(sources), sharey=True, squeeze=False, figsize=(style.WIDTH, 1.85))
    for axes, source in zip(panels[0], sources):
        rows = read_csv(source)
        sweep.draw_accuracy(axes, rows)
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
    with style.plt.rc_context(FLAT):
        return sweep.draw_curves(read_csv(sources[0]), path, BinaryPalindromeDataset.chance, sources)


def gradients(sources, path):
    """The gradient that reaches each time step, a panel for each state of untrained networks and of trained ones."""
    panels = [(title, state, mine) for title, source in zip(("untrained", "trained"), sources)
              for state in "hc" if (mine := [row for row in read_csv(source) if row["state"] == state])]
    figure, all_axes = style.plt.subplots(1, len(panels), sharey=True, squeeze=False, figsize=(style.WIDTH, 2.25))
    for axes, (title, state, rows) in zip(all_axes[0], panels):
        for model, digits in dict.fromkeys((row["model_type"], row["input"]) for row in rows):
            curve = [row for row in rows if (row["model_type"], row["input"]) == (model, digits)]
            t, norm, factor = (np.array([row[name] for row in curve], dtype=float) for name in ("t", "norm", "factor"))
            color, line = style.MODEL_COLORS[model], "-" if digits == "one-hot" else ":"
            axes.plot(t, norm, color=color, linestyle=line, label=f"{model}, {digits} digits")
            axes.fill_between(t, norm / factor, norm * factor, color=color, alpha=0.2, linewidth=0)
        axes.set(xlabel="time step $t$", yscale="log", ylim=(1e-16, 10),  # what is below is zero to any optimizer
                 title=f"{title}\n" + rf"$\Vert\partial L / \partial {state}^{{(t)}}\Vert$")
    lines = {line.get_label(): line for axes in all_axes[0] for line in axes.get_lines()}
    figure.legend(handles=list(lines.values()), loc="outside lower center", ncols=3, fontsize=7)
    return style.save(figure, path, sources)


def text(sources, path):
    """Loss and accuracy of a text model."""
    with style.plt.rc_context(FLAT):
        return study.draw(read_csv(sources[0]), path, sources)


def graphs(sources, path):
    """How the information of node C spreads over the example graphs: a row for each edition, a panel an update."""
    found = []
    for source in sources:
        content = run.read_json(source)
        edges = [(a, b) for i, a in enumerate(content["nodes"]) for j, b in enumerate(content["nodes"])
                 if i < j and content["Atilde"][i][j]]
        graph = graph_lists.neighbour_lists(edges, content["nodes"])
        found.append((content, graph, gcn.solve(graph, content["path"][0], content["path"][-1])["distance"]))
    columns = 1 + max(content["updates"] for content, _, _ in found)
    figure, panels = style.plt.subplots(len(found), columns, squeeze=False,
                                        figsize=(style.WIDTH, 0.1 + 0.66 * len(found)))
    for axes in panels.flat:
        axes.set(xlim=(-0.35, 3.35), ylim=(-0.35, 1.35), aspect="equal")
        axes.axis("off")
    for row, (content, graph, distance) in zip(panels, found):
        target = graph.index(content["path"][-1])
        for update, axes in zip(range(content["updates"] + 1), row):
            drawing.draw_update(axes, graph, drawing.positions(graph), 11, distance, update, target)
            axes.set_title(f"{content['edition']}: update 0" if not update else f"update {update}", fontsize=8)
    return style.save(figure, path, sources)


def speed(sources, path):
    """Time of an update of the networks from scratch, beside torch's own."""
    return benchmark.draw(read_csv(sources[0]), path, sources)


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


def sources_of(name, results):
    """The result files in the folder `results` that the figure `name` is drawn from; none if the first is missing."""
    names, _ = FIGURES[name]
    if not (results / names[0]).exists():
        return []
    return [results / source for source in names if (results / source).exists()]


def draw_all(results, figures):
    """Draw every figure whose result file is in the folder `results` into the folder `figures`; returns their PNGs.

    Figures of other names in that folder are removed, as their results are gone.
    """
    drawn = [draw(sources, figures / name) for name, (_, draw) in FIGURES.items()
             if (sources := sources_of(name, results))]
    if not drawn:
        raise ValueError(f"{run.shorter(results)} holds no results to draw")
    for path in [*figures.glob("*.pdf"), *figures.glob("*.png")]:
        if path.with_suffix(".png") not in drawn:
            path.unlink()
    return drawn


def parse_args(argv=None):
    """Parse the flags of `python -m report.plots`."""
    parser = cli.Parser("report.plots", "Redraw the report's figures from result files, without any training.")
    parser.add_argument("--results", type=Path, default=cli.ROOT / "report" / "results", help="folder of the results")
    parser.add_argument("--figures", type=Path, default=cli.ROOT / "report" / "figures", help="folder of the figures")
    return parser.parse(argv)


def main(config):
    for path in draw_all(config.results, config.figures):
        print(run.shorter(path))


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
