"""Q3.2: the matrix Atilde, and how many updates (eq 14) carry information from node C to node E. For both editions'
graphs, for a small graph typed on the command line, and for an edge list of any size.

    python -m part3.gcn                                        # the 2019 graph; --edition 2020 for the other one
    python -m part3.gcn --edition 2020 --figure runs/gcn_2020  # and draw how the information spreads
    python -m part3.gcn --edges a-b,b-c,c-d --source a --target d
    python -m part3.gcn --edge_list graph.txt --source 17 --target 42

An update moves information one edge further, so the answer is the length of a shortest path.
"""
import sys
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from part1 import cli
from part3.edge_list import in_order, plain, read_edge_list, typed_edges
from part3.graph import EDGES, NODES, add_self_loops, adjacency, dense, neighbour_lists, normalized, spread

SHOWN = 12  # updates that are listed or drawn at most
DRAWN = 60  # nodes that are drawn at most


def parse_args(argv=None):
    parser = cli.Parser("part3.gcn", "Atilde, D, Ahat and the number of graph-convolution updates between two nodes.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--edition", choices=sorted(EDGES), default="2019", help="the assignment's example graph")
    which.add_argument("--edges", type=typed_edges, help="a graph of your own, such as A-B,A-E")
    which.add_argument("--edge_list", type=cli.path, metavar="FILE", help="a text file with two names per line")
    parser.add_argument("--source", type=plain, default="C", help="the node the information starts in")
    parser.add_argument("--target", type=plain, default="E", help="the node it has to reach")
    parser.add_argument("--figure", type=cli.path, metavar="FILE",
                        help=f"draw the graph after each update, as FILE.pdf and FILE.png (up to {DRAWN} nodes)")
    parser.add_argument("--matrix_nodes", type=cli.number(int, at_least=0, at_most=1000), default=20,
                        help="print the matrices of graphs with at most this many nodes")
    return parser.parse_args(argv)


def answers(edition):
    """The answers to Q3.2 for an edition ("2019" or "2020"): a dict of `nodes`, `Atilde` (6, 6), the diagonal of `D`
    (6,), `Ahat` (6, 6), `updates` from C to E, and one shortest `path` as a list of names."""
    A = adjacency(EDGES[edition], NODES)
    _, path = spread(neighbour_lists(EDGES[edition], NODES), "C", "E")
    return {"nodes": list(NODES), "Atilde": add_self_loops(A), "D": add_self_loops(A).sum(axis=1),
            "Ahat": normalized(A), "updates": len(path) - 1, "path": path}


def milestones(last):
    """The updates to show of 0 … `last`: all, or `SHOWN` of them spread evenly, the first and the last included."""
    return np.unique(np.linspace(0, last, min(last + 1, SHOWN)).round().astype(int))


def print_matrix(title, matrix, names, form):
    """Print a title, then the matrix with named rows and columns, its entries in the format `form`."""
    cells = [names] + [[format(x, form) for x in row] for row in matrix]
    first, width = max(map(len, names)), max(len(cell) for row in cells for cell in row)
    print(title)
    for name, row in zip([""] + names, cells):
        print("  ".join([name.ljust(first)] + [cell.rjust(width) for cell in row]))
    print()


def main(config):
    if config.edge_list:
        graph = read_edge_list(config.edge_list)
    else:
        edges = config.edges or EDGES[config.edition]
        graph = neighbour_lists(edges, in_order({name for edge in edges for name in edge}))
    names, small = graph.names, len(graph.names) <= config.matrix_nodes
    distance, path = spread(graph, config.source, config.target)
    updates = milestones(distance.max())
    if config.figure:
        if len(names) > DRAWN:
            raise cli.InputError(f"a figure shows up to {DRAWN} nodes, and this graph has {len(names):,}")
        from part3 import drawing  # matplotlib takes a second to start, and only a figure needs it
        png = drawing.draw_updates(graph, distance, updates, config.target, config.figure)

    print(f"{len(names):,} nodes, {len(graph.indices) // 2:,} edges\n")
    if small:
        A = dense(graph)
        A_tilde = add_self_loops(A)
        print_matrix("Atilde = A + I (eq 16)", A_tilde, names, "d")
        print(f"D = diag({', '.join(map(str, A_tilde.sum(axis=1)))}), D_ii = sum_j Atilde_ij (eq 17)\n")
        print_matrix("Ahat = D^-1/2 Atilde D^-1/2 (eq 15)", normalized(A), names, ".4f")
    else:
        print(f"Atilde, D, Ahat: left out, as the graph has more than {config.matrix_nodes} nodes (--matrix_nodes)\n")
    print(f"information from {config.source} after each update (eq 14):")
    for update in updates:
        reached = np.flatnonzero((distance >= 0) & (distance <= update))
        print(f"  update {update}:", " ".join(names[i] for i in reached) if small else f"{len(reached):,} node(s)")
    print(f"\nupdates from {config.source} to {config.target}:",
          f"{len(path) - 1}\na shortest path: {' - '.join(path)}" if path else "none will do, no path joins them")
    if config.figure:
        print(f"figure: {png} and {png.with_suffix('.pdf').name}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
