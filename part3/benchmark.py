"""How fast is the search of Part 3, and does it grow linearly? One source to all nodes, on random graphs from 10^4 to
10^6 nodes with five edges per node, side by side with SciPy and networkx where these are installed.

    python -m part3.benchmark            # some minutes, most of them networkx's, which takes 2 GB
    python -m part3.benchmark --rivals   # about a minute: without the two

Prints a table and writes it as `benchmark.csv` to `--output`. All searches start from finished data structures and take
turns, so that other work on the machine slows all alike; times are medians over the turns, in seconds. Making the
neighbour lists and reading them from a text file are timed apart, once.
"""
import sys
import tempfile
import time
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from part1 import cli, files
from part3.edge_list import read_edge_list
from part3.graph import breadth_first, compress


def scipy_search(graph):
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order
    matrix = csr_matrix((np.ones(len(graph.indices)), graph.indices, graph.indptr), shape=2 * (len(graph.names),))
    return lambda: breadth_first_order(matrix, 0)  # directed, as each edge is stored both ways


def networkx_search(graph):
    import networkx
    whole = networkx.Graph(zip(graph.rows.tolist(), graph.indices.tolist()))
    whole.add_node(0)
    return lambda: networkx.single_source_shortest_path_length(whole, 0)


RIVALS = {"scipy": scipy_search, "networkx": networkx_search}  # from `Neighbours` to a search that is ready to run


def parse_args(argv=None):
    parser = cli.Parser("part3.benchmark", "Breadth-first search on large graphs, beside SciPy and networkx.")
    parser.add_argument("--nodes", type=cli.number(int, at_least=2), nargs="+", default=[10**4, 10**5, 10**6],
                        help="sizes of the graphs")
    parser.add_argument("--edges_per_node", type=cli.positive_int, default=5, help="before duplicates are left out")
    parser.add_argument("--rivals", choices=RIVALS, nargs="*", default=list(RIVALS),
                        help="libraries to compare with (no name: none)")
    parser.add_argument("--repeats", type=cli.positive_int, default=5, help="turns of every search")
    parser.add_argument("--seed", type=cli.seed, default=0, help="of the random graphs")
    parser.add_argument("--output", type=cli.path, metavar="FOLDER", default=files.ROOT / "runs" / "part3_benchmark",
                        help="where the tables are written")
    return parser.parse_args(argv)


def seconds(function, *args):
    """Wall time of one call."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def measure(N, config):
    """One row of the table, as a dict."""
    ends = np.random.default_rng(config.seed).integers(N, size=(config.edges_per_node * N, 2))
    graph = compress(ends, range(N))
    searches = {"ours": lambda: breadth_first(graph, 0)}
    for name in config.rivals:
        try:
            searches[name] = RIVALS[name](graph)
        except ImportError:
            print(f"{name} is not installed: left out", file=sys.stderr)
    distance, _ = breadth_first(graph, 0)  # a first call pays for fresh memory
    turns = [[seconds(search) for search in searches.values()] for _ in range(config.repeats)]
    times = dict.fromkeys(f"{name}_s" for name in ("ours", *RIVALS)) | {
        f"{name}_s": time for name, time in zip(searches, np.median(turns, axis=0).tolist())}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "edges.txt"
        np.savetxt(file, ends, fmt="%d")
        read = seconds(read_edge_list, file)
    edges = len(graph.indices) // 2
    return {"nodes": N, "edges": edges, "levels": int(distance.max()), "read_s": read,
            "lists_s": seconds(compress, ends, range(N)), **times,
            "ours_ns_per_edge": times["ours_s"] / max(edges, 1) * 1e9}


def main(config):
    files.refuse_foreign(config.output / "benchmark.csv", ["nodes", "edges", "levels", "read_s"])
    config.output.mkdir(parents=True, exist_ok=True)
    rows = [measure(N, config) for N in config.nodes]
    for name in rows[0]:
        if rows[0][name] is not None:
            print(f"{name:20}", *(f"{row[name]:12.6g}" for row in rows))
    files.write_csv(config.output / "benchmark.csv", rows)
    print(f"written: {files.display(config.output / 'benchmark.csv')}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
