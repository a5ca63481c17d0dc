"""Redraw the figures from the committed results, without any training.

    python -m report.plots                                                 # report/results to report/figures
    python -m report.plots --results runs/quick/results --figures runs/quick/figures

`FIGURES` says which figure is drawn from which result files by which function; `report.reproduce` uses it too.
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
from report.results import WRITERS, making, read_result

FLAT = {"figure.figsize": (4.2, 1.25), "font.size": 7, "axes.labelsize": 7, "legend.fontsize": 7}  # as it is printed
SETTINGS = {  # the settings of each sweep as the horizon map calls them
    "official.csv": "course's defaults", "naive.csv": "naive", "adam.csv": "naive, Adam", "forget.csv": "forget bias 1",
    "lengths.csv": "orthogonal or chrono", "longer.csv": "orthogonal or chrono", "latch.csv": "latch",
    "latch_longest.csv": "latch"}
COUNTING = ("5-gram", "bz2")  # of the baselines, those that are drawn
LOOKS = {"course's defaults": (style.GREY, "s"), "naive": (style.VERMILION, "v"), "naive, Adam": (style.PURPLE, "^"),
         "forget bias 1": (style.SKY, "<"), "orthogonal or chrono": (style.BLUE, "o"), "latch": (style.GREEN, "D")}


def horizon(sources, path):
    """The share of seeds that solve palindromes of length T, and the updates that takes: a column for each network.

    Each setting has a lane of its own, in which the share goes from 0 to 1; dots are the accuracies of the seeds.
    """
    curves = {}  # by network and setting, for each T the accuracy of each seed, and its updates if it solves T
    for source in sources:
        for row in read_result(source):
            curve = curves.setdefault((row["model_type"], SETTINGS[source.name]), {})
            curve.setdefault(row["palindrome_length"], []).append(
                (row["accuracy"], row["steps"] if row["accuracy"] >= drawing.SOLVED else None))
    models, names = (list(dict.fromkeys(key[k] for key in curves)) for k in (0, 1))
    lanes = {name: 1.25 * lane for lane, name in enumerate([name for name in LOOKS if name in names][::-1])}
    figure, panels = plt.subplots(2, len(models), sharex=True, sharey="row", squeeze=False,
                                  height_ratios=[len(lanes), 2.4], figsize=(style.WIDTH, 1.45 + 0.17 * len(lanes)))
    for (model, name), curve in curves.items():
        color, marker = LOOKS[name]
        upper, lower = panels[:, models.index(model)]
        T = np.array(sorted(curve))
        solved = [[steps for _, steps in curve[length] if steps is not None] for length in T]
        upper.scatter(*zip(*((length, lanes[name] + accuracy) for length in T for accuracy, _ in curve[length])),
                      s=2, color="black", alpha=0.4, linewidths=0, zorder=3)
        share = np.array([len(steps) / len(curve[length]) for steps, length in zip(solved, T)])
        interval = np.array([drawing.wilson(len(steps), len(curve[length])) for steps, length in zip(solved, T)]).T
        look = {"color": color, "marker": marker, "markersize": 3, "elinewidth": 0.6}
        upper.errorbar(T, lanes[name] + share, np.abs(interval - share), **look)
        if there := [(x, np.median(steps), min(steps), max(steps)) for x, steps in zip(T, solved) if steps]:
            x, median, low, high = np.array(there).T
            lower.errorbar(x, median, [median - low, high - median], **look)
    for axes, model in zip(panels[0], models):
        axes.set(title=style.model_name(model), xscale="log", ylim=(-0.15, max(lanes.values()) + 1.15),
                 yticks=[lane + 0.5 for lane in lanes.values()], yticklabels=lanes)
        axes.tick_params(axis="y", length=0, labelsize=7)
        axes.grid(axis="y", visible=False)
        for lane in lanes.values():
            axes.axhspan(lane, lane + 1, color=style.GREY, alpha=0.08, linewidth=0)
    for share in (0, 1):
        panels[0, -1].annotate(str(share), (1.03, max(lanes.values()) + share), xycoords=("axes fraction", "data"),
                               fontsize=6, va="center")
    for axes in panels[1]:
        axes.set(xlabel="palindrome length $T$", yscale="log")
        axes.yaxis.set_minor_formatter("")
    panels[1, 0].set(ylabel="updates")
    return style.save(figure, path, sources)


def traces(sources, path):
    """What each optimizer does in its first updates to naive networks, to the LSTM at a high rate: each seed, mean."""
    rows = [row for row in read_result(sources[0]) if row["start"] == "naive"]
    high = max(row["learning_rate"] for row in rows)
    panels = [("RNN", "moved", r"RNN: $\Vert\mathbf{W}_{hh}-\mathbf{W}_{hh}^{(0)}\Vert_2$"),
              ("RNN", "slope", r"RNN: mean of $\tanh'$"), ("RNN", "readable", "RNN: readable"),
              ("LSTM", "readable", "LSTM: readable")]
    figure, all_axes = plt.subplots(1, len(panels), figsize=(style.WIDTH, 1.4))
    for axes, (model, name, title) in zip(all_axes, panels):
        own = [row for row in rows
               if row["model_type"] == model and (row["learning_rate"] == high) == (model == "LSTM")]
        optimizers = dict.fromkeys(row["optimizer"] for row in own)
        for optimizer, color in zip(optimizers, (style.VERMILION, style.BLUE, style.GREEN)):
            drawing.seeds_and_mean(axes, [row for row in own if row["optimizer"] == optimizer], name, color, optimizer)
        axes.set_title(title, fontsize=8)
        axes.set(xlabel="update", ylim=(0, None if name == "moved" else 1.03))
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return style.save(figure, path, sources)


def binary(sources, path):
    """Learning curves on the binary palindromes of 2020."""
    entropies = (drawing.label_entropy(0), "label's entropy"), (drawing.label_entropy(3), "given last 3 bits")
    curves = read_result(sources[0])
    chances = {row["palindrome_length"]: 2 / 3 for row in curves}
    with plt.rc_context({"font.size": 7.5, "axes.titlesize": 8, "axes.labelsize": 7.5, "lines.linewidth": 1}):
        return drawing.learning_curves(curves, chances, path, sources, entropies, height=2.1)


def baum_sweet(sources, path):
    """Learning curves on the Baum-Sweet sequences of 2020; the start of a curve is the best guess."""
    return drawing.learning_curves(read_result(sources[0]), {}, path, sources)


def combinations(sources, path):
    """Learning curves on the random combinations of 2020, whose label is one of L."""
    curves = read_result(sources[0])
    chances = {row["palindrome_length"]: 1 / row["palindrome_length"] for row in curves}
    return drawing.learning_curves(curves, chances, path, sources)


def gradients(sources, path):
    """The gradient that reaches each time step: at naive and at tuned initial weights, and after training."""
    titles = {"gradients.csv": "naive, untrained", "gradients_tuned.csv": "tuned, untrained",
              "gradients_trained.csv": "tuned, trained"}
    studies = {titles[source.name]: [row for row in read_result(source)
                                     if row["input"] == "one-hot" or row["state"] == "h"] for source in sources}
    return drawing.gradients(studies, path, sources, height=1.7)


def text(sources, path):
    """Loss and accuracy of the text models, the seeds of one setting in one colour, beside what counting reaches."""
    ngram = [source for source in sources if source.name == "ngram.csv"]
    bits = {row["model"]: row["held_out_bits"] for row in read_result(ngram[0])} if ngram else {}
    runs = [(WRITERS.get(source.stem.removesuffix("_curves"), WRITERS["text"]), read_result(source))
            for source in sources if source not in ngram]
    with plt.rc_context(FLAT):
        return text_drawing.learning_curves(runs, path, sources,
                                            [(name, bits[name]) for name in COUNTING if name in bits])


def text_measures(sources, path):
    """How good the samples of the text models are at each temperature, and how far back the models look."""
    samples, context = ({WRITERS[source.stem.removesuffix(f"_{table}")]: read_result(source)
                         for source in sources if source.stem.endswith(table)} for table in ("samples", "context"))
    return text_drawing.measures(samples, context, path, sources)


def text_settings(sources, path):
    """Held-out bits of the text models with each of the settings, against the characters that they have read."""
    contents = {source.name: read_result(source) for source in sources}
    runs = {writer: (contents[f"{name}.json"]["settings"], contents[f"{name}_curves.csv"])
            for name, writer in WRITERS.items() if f"{name}.json" in contents}
    for row in contents["text_settings.csv"]:
        runs[row["setting"]] = row, [curve for curve in contents["text_settings_curves.csv"]
                                     if curve["setting"] == row["setting"]]
    return text_drawing.bits_against_reading({
        name: [(row["step"] * about["batch_size"] * about["seq_length"], row["eval_loss"] / np.log(2))
               for row in rows if row["eval_loss"] is not None] for name, (about, rows) in runs.items()}, path, sources)


def graphs(sources, path):
    """How the information of node C spreads over the example graphs: a row for each edition, a panel per update."""
    editions = [read_result(source) for source in sources]
    figure, panels = plt.subplots(len(editions), max(len(edition["path"]) for edition in editions), squeeze=False,
                                  figsize=(style.WIDTH, 0.1 + 0.58 * len(editions)))
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
    "gradients": (["gradients.csv", "gradients_tuned.csv", "gradients_trained.csv"], gradients),
    "binary": (["binary_curves.csv"], binary),
    "baum_sweet": (["baum_sweet_curves.csv"], baum_sweet),
    "combinations": (["combinations_curves.csv"], combinations),
    "text": (["text_curves.csv", "text_seed43_curves.csv", "text_seed44_curves.csv", "text_best_curves.csv",
              "ngram.csv"], text),
    "text_second": (["text_second_curves.csv"], text),
    "text_measures": ([f"{name}_{table}.csv" for table in ("samples", "context") for name in ("text", "text_best")],
                      text_measures),
    "text_settings": (["text_settings.csv", "text_settings_curves.csv", "text.json", "text_curves.csv",
                       "text_best.json", "text_best_curves.csv"], text_settings),
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
