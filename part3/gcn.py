"""Q3.2: the matrix Atilde, and how many updates (eq 14) carry information from node C to node E. For both editions'
graphs, for a small graph typed on the command line, and for an edge list of any size.

    python -m part3.gcn                                        # the 2019 graph; --edition 2020 for the other one
    python -m part3.gcn --edition 2020 --figure runs/gcn_2020  # and draw how the information spreads
    python -m part3.gcn --edges a-b,b-c,c-d --source a --target d
    python -m part3.gcn --edge_list graph.txt --source 17 --target 42

An update moves information one edge further, so the answer is the length of a shortest path; (Atilde^k)_CE is zero for
every smaller k. A graph with no path between the two nodes has an answer too: no number of updates will do.
"""
import argparse
import re
import sys
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from part1 import cli
from part3 import graph as graphs
from part3.edge_list import in_order, read_edge_list

SHOWN = 12  # at most so many updates are listed or drawn
DRAWN = 60  # at most so many nodes are drawn


def edge_pairs(text):
    """The pairs of names in "A-B,A-E"; spaces around a name do not count, and an en dash is as good as a hyphen."""
    pairs = [tuple(name.strip() for name in re.split("[-–]", edge)) for edge in text.split(",")]
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2 or not all(pair):
            raise argparse.ArgumentTypeError(f"edge {number} must be two names such as A-B, not {'-'.join(pair)!r}")
    return pairs


def parse_args(argv=None):
    parser = cli.Parser("part3.gcn", "Atilde, D, Ahat and the number of graph-convolution updates between two nodes.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--edition", choices=sorted(graphs.EDGES), default="2019", help="the assignment's example graph")
    which.add_argument("--edges", type=edge_pairs, help="a graph of your own, such as A-B,A-E")
    which.add_argument("--edge_list", metavar="FILE", help="a graph of any size: a text file with two names a line")
    parser.add_argument("--source", default="C", help="the node the information starts in")
    parser.add_argument("--target", default="E", help="the node it has to reach")
    parser.add_argument("--figure", metavar="FILE",
                        help=f"draw the graph after each update, as FILE.pdf and FILE.png (up to {DRAWN} nodes)")
    parser.add_argument("--matrix_nodes", type=cli.number(int, at_least=0), default=20,
                        help="print the matrices of graphs with at most this many nodes")
    return parser.parse_args(argv)


def solve(graph, source, target):
    """How information spreads over `Neighbours` from the node named `source`: a dict with `distance` and `previous` as
    `breadth_first` gives them, `updates` to `target` and the names on one `path` (both `None` where there is none), and
    `last`, the last update of interest."""
    start, end = graph.index(source), graph.index(target)
    distance, previous = graphs.breadth_first(graph, start, end)
    reached = distance[end] >= 0
    return {"distance": distance, "previous": previous, "last": int(distance.max()),
            "updates": int(distance[end]) if reached else None,
            "path": [graph.names[i] for i in graphs.path_to(previous, end)] if reached else None}


def answers(edition):
    """The answers to Q3.2 for an edition ("2019" or "2020"): a dict of `nodes`, `Atilde` (6, 6), the diagonal of `D`
    (6,), `Ahat` (6, 6), `updates` from C to E, and one shortest `path` as a list of names."""
    if edition not in graphs.EDGES:
        raise ValueError(f"there is no edition {edition!r}: the editions are {', '.join(graphs.EDGES)}")
    A = graphs.adjacency(graphs.EDGES[edition], graphs.NODES)
    solution = solve(graphs.neighbour_lists(graphs.EDGES[edition], graphs.NODES), "C", "E")
    return {"nodes": list(graphs.NODES), "Atilde": graphs.add_self_loops(A), "D": graphs.add_self_loops(A).sum(axis=1),
            "Ahat": graphs.normalized(A), "updates": solution["updates"], "path": solution["path"]}


def milestones(last):
    """The updates to show of 0 … `last`: all, or `SHOWN` of them spread evenly, the first and the last included."""
    return np.unique(np.linspace(0, last, min(last + 1, SHOWN)).round().astype(int))


def table(title, matrix, names, form):
    """Lines of text: a title, then a matrix with named rows and columns."""
    cells = [names] + [[format(x, form) for x in row] for row in matrix]
    first, width = max(map(len, names)), max(len(cell) for row in cells for cell in row)
    return [title] + ["  ".join([name.ljust(first)] + [cell.rjust(width) for cell in row])
                      for name, row in zip([""] + names, cells)] + [""]


def describe(graph, solution, source, target, matrix_nodes):
    """All that is printed, as lines of text."""
    names, updates = list(map(str, graph.names)), solution["updates"]
    lines = [f"{len(names):,} nodes, {len(graph.indices) // 2:,} edges", ""]
    if len(names) <= matrix_nodes:
        A = graphs.dense(graph)
        A_tilde = graphs.add_self_loops(A)
        lines += table("Atilde = A + I (eq 16)", A_tilde, names, "d")
        lines += ["D = diag(" + ", ".join(map(str, A_tilde.sum(axis=1))) + "), D_ii = sum_j Atilde_ij (eq 17)", ""]
        lines += table("Ahat = D^-1/2 Atilde D^-1/2 (eq 15)", graphs.normalized(A), names, ".4f")
    else:
        lines += [f"Atilde, D, Ahat: left out, as the graph has more than {matrix_nodes} nodes (--matrix_nodes)", ""]
    lines.append(f"information from {source} after each update (eq 14):")
    for update in milestones(solution["last"]):
        reached = np.flatnonzero((solution["distance"] >= 0) & (solution["distance"] <= update))
        where = " ".join(names[i] for i in reached) if len(names) <= matrix_nodes else f"{len(reached):,} node(s)"
        lines.append(f"  update {update}: {where}")
    if updates is None:
        return lines + ["", f"updates from {source} to {target}: none will do, no path joins them"]
    path = " - ".join(map(str, solution["path"]))
    return lines + ["", f"updates from {source} to {target}: {updates}", f"a shortest path: {path}"]


def draw_graph(graph, solution, target, path, sources=()):
    """`draw` for `Neighbours` and what `solve` found."""
    if len(graph.names) > DRAWN:
        raise ValueError(f"a figure shows up to {DRAWN} nodes, and this graph has {len(graph.names):,}")
    if not Path(path).name or Path(path).suffix not in ("", ".pdf", ".png"):
        raise ValueError(f"a figure is written as a .pdf and a .png, not as {str(path)!r}")
    from part3 import drawing  # matplotlib takes a second to start, and only a figure needs it
    return drawing.draw_updates(graph, solution["distance"], milestones(solution["last"]), target, path, sources)


def draw(edges, nodes, source, target, path, sources=()):
    """Draw the graph of `edges` over `nodes` after each update, small multiples from update 0 until `target` is
    reached, as `path`.pdf and `path`.png, marked with the result files `sources`. Returns the PNG's path; `ValueError`
    for more than `DRAWN` nodes."""
    graph = graphs.neighbour_lists(edges, nodes)
    return draw_graph(graph, solve(graph, source, target), target, path, sources)


def main(config):
    if config.edge_list is not None:
        graph = read_edge_list(config.edge_list)
    else:
        edges = config.edges or graphs.EDGES[config.edition]
        graph = graphs.neighbour_lists(edges, in_order({name for edge in edges for name in edge}))
    if not len(graph.names):
        raise ValueError(f"{config.edge_list} holds no edge: the graph is empty")
    solution = solve(graph, config.source, config.target)
    lines = describe(graph, solution, config.source, config.target, config.matrix_nodes)
    if config.figure is not None:
        png = draw_graph(graph, solution, config.target, config.figure)
        lines.append(f"figure: {png} and {png.with_suffix('.pdf').name}")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
