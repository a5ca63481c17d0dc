"""How fast is the search of Part 3, and does it grow linearly? One source to all nodes, on random graphs from 10^4 to
10^6 nodes with five edges per node, side by side with SciPy and networkx where these are installed.

    python -m part3.benchmark                                             # a few minutes, most of them networkx's
    python -m part3.benchmark --networkx_repeats 0                        # about a minute
    python -m part3.benchmark --nodes 1000 10000 --repeats 3 --shape grid # seconds

Prints a table and writes it as `benchmark.csv` and `benchmark.json` to `--output`. All searches start from finished
data structures: neighbour lists here, the same lists as SciPy's CSR matrix, a networkx `Graph`. They take turns, so
that other work on the machine slows all alike; a time is the median over the turns, a ratio the median of the turns'
ratios. Making the neighbour lists and reading the same graph from a text file are timed apart. Neither SciPy nor
networkx is needed.
"""
import csv
import json
import sys
import time
import tracemalloc
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from part1 import cli
from part3.edge_list import read_edge_list
from part3.graph import breadth_first, compress

COLUMNS = {  # of the printed table: key, heading, format
    "nodes": ("nodes", ",d"), "edges": ("edges", ",d"), "levels": ("levels", ",d"), "lists_s": ("lists s", ".3f"),
    "search_s": ("search s", ".4f"), "ns_per_edge": ("ns/edge", ".1f"), "peak_mib": ("peak MiB", ".1f"),
    "bytes_per_edge": ("B/edge", ".1f"), "scipy_s": ("SciPy s", ".4f"), "scipy_ratio": ("ours/SciPy", ".2f"),
    "networkx_s": ("networkx s", ".3f"), "networkx_ratio": ("networkx/ours", ".1f"), "read_s": ("read s", ".3f"),
    "file_mb": ("file MB", ".1f"),
}


def parse_args(argv=None):
    parser = cli.Parser("part3.benchmark", "Breadth-first search on large graphs, beside SciPy and networkx.")
    parser.add_argument("--nodes", type=cli.number(int, at_least=2), nargs="+", default=[10**4, 10**5, 10**6],
                        help="sizes of the graphs")
    parser.add_argument("--edges_per_node", type=cli.positive_int, default=5, help="of a random graph")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="random",
                        help="kind of graph; a chain has the most levels, a random graph the fewest")
    parser.add_argument("--repeats", type=cli.positive_int, default=7, help="turns of the search, ours and SciPy's")
    parser.add_argument("--networkx_repeats", type=cli.number(int, at_least=0), default=3,
                        help="turns that networkx joins (2 GB for 1e6 nodes); 0 leaves it out")
    parser.add_argument("--seed", type=cli.number(int, at_least=0), default=0, help="of the random graphs")
    parser.add_argument("--output", metavar="FOLDER", default=str(cli.ROOT / "runs" / "part3_benchmark"),
                        help="where the tables are written")
    return parser.parse_args(argv)


def random_edges(N, config):
    """`edges_per_node` x N pairs of nodes, uniform on 0 … N - 1, (edges, 2)."""
    return np.random.default_rng(config.seed).integers(N, size=(config.edges_per_node * N, 2))


def grid_edges(N, config):
    """A square grid of at most N nodes."""
    node = np.arange(int(N**0.5) ** 2).reshape(int(N**0.5), -1)
    return np.concatenate([np.column_stack((a.ravel(), b.ravel()))
                           for a, b in ((node[1:], node[:-1]), (node[:, 1:], node[:, :-1]))])


def chain_edges(N, config):
    """One chain of N nodes: a level per node, the slow case of a search by levels."""
    return np.column_stack((np.arange(N - 1), np.arange(1, N)))


SHAPES = {"random": random_edges, "grid": grid_edges, "chain": chain_edges}


def seconds(function):
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_bytes(function):
    """The most memory that one call holds at a time, of what it allocates itself."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def rivals(graph, networkx_repeats):
    """The other libraries' searches on the same graph, ready to call, by name; those not installed are left out."""
    searches = {}
    try:
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import breadth_first_order
        matrix = csr_matrix((np.ones(len(graph.indices)), graph.indices, graph.indptr), shape=2 * (len(graph.names),))
        searches["scipy"] = lambda: breadth_first_order(matrix, 0)  # directed, as each edge is stored both ways
    except ImportError:
        print("SciPy is not installed: left out", file=sys.stderr)
    if networkx_repeats:
        try:
            import networkx
            whole = networkx.Graph()
            whole.add_nodes_from(graph.names)
            rows = np.repeat(np.arange(len(graph.names)), graph.degree)
            whole.add_edges_from(zip(rows.tolist(), graph.indices.tolist()))
            searches["networkx"] = lambda: networkx.single_source_shortest_path_length(whole, 0)
        except ImportError:
            print("networkx is not installed: left out", file=sys.stderr)
    return searches


def reading(ends, folder):
    """Seconds to read the graph from a text file, and the file's size in MB. The file is removed again."""
    file = folder / "edges.txt"
    try:
        with open(file, "w") as stream:
            for block in np.array_split(ends, max(1, len(ends) >> 16)):
                stream.write("%d %d\n" * len(block) % tuple(block.ravel().tolist()))
        return seconds(lambda: read_edge_list(file)), file.stat().st_size / 1e6
    finally:
        file.unlink(missing_ok=True)


def measure(N, config, folder):
    """One row of the table, as a dict."""
    ends = SHAPES[config.shape](N, config)
    names = range(int(ends.max()) + 1 if config.shape == "grid" else N)
    lists_s = seconds(lambda: compress(ends, names))
    graph = compress(ends, names)
    read_s, file_mb = reading(ends, folder)
    del ends
    searches = {"search": lambda: breadth_first(graph, 0), **rivals(graph, config.networkx_repeats)}
    breadth_first(graph, 0)  # a first call pays for fresh memory
    times = {name: [] for name in searches}
    for turn in range(max(config.repeats, config.networkx_repeats)):
        for name, search in searches.items():
            if turn < (config.networkx_repeats if name == "networkx" else config.repeats):
                times[name].append(seconds(search))
    edges, peak = len(graph.indices) // 2, peak_bytes(lambda: breadth_first(graph, 0))
    ours = np.array(times["search"])
    row = {"shape": config.shape, "nodes": len(names), "edges": edges, "levels": int(breadth_first(graph, 0)[0].max()),
           "lists_s": lists_s, "search_s": float(np.median(ours)), "ns_per_edge": float(np.median(ours)) / edges * 1e9,
           "peak_mib": peak / 2**20, "bytes_per_edge": peak / edges, "read_s": read_s, "file_mb": file_mb}
    for name in ("scipy", "networkx"):
        theirs = np.array(times.get(name, []))
        both = min(len(ours), len(theirs))
        ratio = ours[:both] / theirs[:both] if name == "scipy" else theirs[:both] / ours[:both]
        row |= {f"{name}_s": float(np.median(theirs)) if both else None,
                f"{name}_ratio": float(np.median(ratio)) if both else None}
    return row


def text(rows):
    """The rows as a table to print."""
    cells = [[heading for heading, _ in COLUMNS.values()]]
    for row in rows:
        cells.append(["-" if row[key] is None else format(row[key], form) for key, (_, form) in COLUMNS.items()])
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in cells)


def main(config):
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [measure(N, config, folder) for N in config.nodes]
    print(text(rows))
    with open(folder / "benchmark.csv", "w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    (folder / "benchmark.json").write_text(json.dumps({"config": vars(config), "rows": rows}, indent=1) + "\n")
    print(f"written: {folder / 'benchmark.csv'} and benchmark.json")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
