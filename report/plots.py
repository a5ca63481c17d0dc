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

from part1 import cli, grads_over_time, run, sweep
from part1.dataset import BinaryPalindromeDataset
from part2 import study
from part3 import gcn, graph


def read_csv(path):
    """The rows of a results table as dicts: whole numbers as int, other numbers as float, empty fields as None."""
    def value(field):
        for kind in (int, float):
            try:
                return kind(field)
            except ValueError:
                pass
        return field or None

    with open(path, newline="") as file:
        return [{name: value(field) for name, field in row.items()} for row in csv.DictReader(file)]


def lengths(source, path):
    return sweep.draw_lengths(read_csv(source), path, [source])


def binary(source, path):
    return sweep.draw_curves(read_csv(source), path, BinaryPalindromeDataset.chance, [source])


def gradients(source, path):
    return grads_over_time.draw(read_csv(source), path, [source])


def text(source, path):
    return study.draw(read_csv(source), path, [source])


def example_graph(source, path):
    edition = run.read_json(source)["edition"]
    return gcn.draw(graph.EDGES[edition], graph.NODES, "C", "E", path, [source])


FIGURES = {  # the figure's name: the result file it is drawn from, and by which function
    "lengths": ("lengths.csv", lengths),
    "gradients": ("gradients.csv", gradients),
    "binary": ("binary_curves.csv", binary),
    "text": ("text_curves.csv", text),
    "text_tuned": ("text_tuned_curves.csv", text),
    "text_second": ("text_second_curves.csv", text),
    "graph_2019": ("graph_2019.json", example_graph),
    "graph_2020": ("graph_2020.json", example_graph),
}


def draw_all(results, figures):
    """Draw every figure whose result file is in the folder `results` into the folder `figures`; returns their PNGs."""
    drawn = [draw(results / source, figures / name)
             for name, (source, draw) in FIGURES.items() if (results / source).exists()]
    if not drawn:
        raise ValueError(f"{run.shorter(results)} holds no results to draw")
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
