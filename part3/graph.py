"""Graphs for Part 3: the two exercise graphs, their matrices (eqs 15-17) and a breadth-first search for any size.

Q3.2 asks for Atilde and for the number of updates (eq 14) that carry information from node C to node E. One update
carries it one edge further, so the number is the length of a shortest path:

    >>> from part3.graph import EDGES, adjacency, add_self_loops, hop_count
    >>> add_self_loops(adjacency(EDGES["2020"], "ABCDEF"))
    >>> hop_count(EDGES["2020"], "ABCDEF", "C", "E")

`python -m part3.gcn` prints the answers. A graph is undirected: an edge is a pair of node names in either order,
duplicates count once, and a self-loop is ignored because eq 16 gives every node exactly one. Small graphs are dense
matrices; graphs of any size are `Neighbours`, compressed lists on which the search works by whole frontiers.
"""
from itertools import chain
from typing import NamedTuple

import numpy as np

NODES = "ABCDEF"
EDGES = {
    "2019": [("A", "B"), ("A", "E"), ("A", "F"), ("B", "C"), ("B", "D"), ("C", "D"), ("D", "F"), ("E", "F")],
    "2020": [("A", "B"), ("A", "E"), ("A", "F"), ("B", "D"), ("C", "D"), ("D", "F")],
}
DENSE_GIB = 2  # the largest dense matrix that is made: 16384 nodes


class Neighbours(NamedTuple):
    """An undirected graph as compressed neighbour lists: node i has neighbours `indices[indptr[i]:indptr[i + 1]]`.

    `indptr` is (N + 1,), `indices` (2 x edges,), both int32 (int64 beyond 2^31 entries); each list is sorted and holds
    no node twice, nor the node itself. `names` is a sequence of the N node names.
    """

    indptr: np.ndarray
    indices: np.ndarray
    names: object

    @property
    def degree(self):
        """Number of neighbours of every node, (N,)."""
        return np.diff(self.indptr)

    def index(self, name):
        """The position of the node called `name`; `ValueError` if there is none."""
        try:
            return self.names.index(name)
        except ValueError:
            known = ", ".join(map(str, self.names[:8])) + (", …" if len(self.names) > 8 else "")
            raise ValueError(f"no node {name!r} in the graph; its {len(self.names):,} nodes are {known}") from None


def compress(ends, names):
    """Neighbour lists from `ends`, an integer array (edges, 2) of positions in the sequence `names`; `ValueError` for
    another shape or a position outside `names`."""
    N, ends = len(names), np.asarray(ends, dtype=np.int64)
    if ends.ndim != 2 or ends.shape[1] != 2:
        raise ValueError(f"edges must be of shape (edges, 2), not {ends.shape}")
    if ends.size and (ends.min() < 0 or ends.max() >= N):
        raise ValueError(f"an edge has an end outside 0 … {N - 1}")
    i, j = ends[ends[:, 0] != ends[:, 1]].T
    pairs = np.concatenate((i * N + j, j * N + i))
    pairs.sort()  # np.unique hashes since NumPy 2.3: ten times slower on ten million pairs
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    small = np.int32 if max(N, len(pairs)) < 2**31 else np.int64
    indptr = np.searchsorted(pairs, np.arange(N + 1) * N)
    return Neighbours(indptr.astype(small), (pairs % max(N, 1)).astype(small), names)


def neighbour_lists(edges, nodes):
    """Neighbour lists of `edges`, pairs of names, over the names `nodes`, in the order of `nodes`.

    Names are anything hashable. Raises `ValueError` for a node listed twice, an edge that is not a pair, or an edge
    with an unknown node.
    """
    names = list(nodes)
    edges = edges.tolist() if isinstance(edges, np.ndarray) else list(edges)
    try:
        index = dict(zip(names, range(len(names))))
        if not set(map(len, edges)) <= {2}:
            raise ValueError(f"an edge is a pair of nodes, not {next(edge for edge in edges if len(edge) != 2)!r}")
        ends = np.fromiter(map(index.__getitem__, chain.from_iterable(edges)), np.int64, 2 * len(edges))
    except KeyError as missing:
        raise ValueError(f"an edge ends in {missing.args[0]!r}, which is not among the nodes") from None
    except TypeError:
        raise ValueError("edges are pairs of node names, and names are numbers, text or anything hashable") from None
    if len(index) < len(names):
        raise ValueError("a node is listed twice")
    return compress(ends.reshape(-1, 2), names)


def dense(graph):
    """The adjacency matrix A, (N, N) of int64, of neighbour lists; `ValueError` where it would exceed `DENSE_GIB`."""
    N = len(graph.names)
    if N * N * 8 > DENSE_GIB * 2**30:
        raise ValueError(f"a dense {N:,} x {N:,} matrix needs {N * N * 8 / 2**30:,.1f} GiB, more than the {DENSE_GIB} "
                         "GiB allowed here: use neighbour_lists and the functions on edges")
    A = np.zeros((N, N), dtype=np.int64)
    A[np.repeat(np.arange(N), graph.degree), graph.indices] = 1
    return A


def adjacency(edges, nodes):
    """The adjacency matrix A, (N, N) of 0 and 1, without self-loops; rows and columns in the order of `nodes`.

    Raises `ValueError` as `neighbour_lists` does, and, naming the memory, where the matrix would exceed `DENSE_GIB`.
    """
    return dense(neighbour_lists(edges, nodes))


def add_self_loops(A):
    """Atilde = A + I (eq 16), (N, N), for an `A` without self-loops."""
    A = np.asarray(A)
    if A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise ValueError(f"A must be a square matrix, not of shape {A.shape}")
    if A.diagonal().any():
        raise ValueError("A must come without self-loops: its diagonal is not zero")
    return A + np.eye(len(A), dtype=A.dtype)


def normalized(A):
    """Ahat = D^-1/2 Atilde D^-1/2 (eq 15), (N, N), for a symmetric `A` >= 0 without self-loops (else `ValueError`).

    Its eigenvalues lie in (-1, 1], so that stacked layers do not blow up (Kipf & Welling, ICLR 2017).
    """
    A_tilde = add_self_loops(A)  # eq 16
    if not ((A_tilde == A_tilde.T) & (A_tilde >= 0)).all():
        raise ValueError("A must be symmetric and nowhere negative: the graph is undirected")
    D = A_tilde.sum(axis=1)  # eq 17, the diagonal of D
    return A_tilde / np.sqrt(np.outer(D, D))  # eq 15


def _edges_from(graph, degree, nodes):
    """All edges that start in `nodes`, as two arrays: their starts and their ends."""
    counts = degree[nodes]
    after = np.cumsum(counts, dtype=np.int64)
    position = np.arange(after[-1]) + np.repeat(graph.indptr[nodes] - (after - counts), counts)
    return np.repeat(nodes, counts), graph.indices[position]


def breadth_first(graph, source, target=None):
    """Distances from `source` in edges, and the node before each node on a shortest path; both int (N,), -1 where there
    is no path. `source` and `target` are positions; with a `target` the search ends at the level that reaches it, and
    -1 may also mean "not reached yet".

    A level is expanded whole, from whichever side has fewer edges: from the frontier to the unseen nodes, or from the
    unseen nodes back to the frontier (Beamer, Asanović & Patterson, SC 2012). The second looks through all nodes, but
    happens at most log2(edges) times, as each such level at least halves the edges of the unseen. Time and memory are
    O(nodes + edges), plus some tens of microseconds a level: one long chain is the slow case.
    """
    degree = graph.degree
    distance = np.full(len(degree), -1, dtype=graph.indices.dtype)
    previous = distance.copy()
    unseen = np.ones(len(degree), dtype=bool)
    frontier, level = np.array([source], dtype=graph.indices.dtype), 0
    distance[source], unseen[source] = 0, False
    edges_left = len(graph.indices) - degree[source]  # those that start in unseen nodes
    while len(frontier) and edges_left and (target is None or unseen[target]):
        level += 1
        if degree[frontier].sum() <= edges_left:
            parent, child = _edges_from(graph, degree, frontier)
            fresh = unseen[child]
        else:  # a seen neighbour of an unseen node is in the frontier: an earlier level would have seen the node
            child, parent = _edges_from(graph, degree, np.flatnonzero(unseen).astype(frontier.dtype))
            fresh = ~unseen[parent]
        parent, child = parent[fresh], child[fresh]
        previous[child] = parent  # of several parents one stays, and that one edge lists its child exactly once
        frontier = child[previous[child] == parent]
        distance[frontier], unseen[frontier] = level, False
        edges_left -= degree[frontier].sum()
    return distance, previous


def path_to(previous, target):
    """Positions on the path that `breadth_first` found to `target`, both ends included."""
    path = [int(target)]
    while (before := int(previous[path[-1]])) >= 0:
        path.append(before)
    return path[::-1]


def shortest_path(edges, nodes, source, target):
    """Names on one shortest path from `source` to `target`, both included, or `None` where there is no path."""
    graph = neighbour_lists(edges, nodes)
    start, end = graph.index(source), graph.index(target)
    distance, previous = breadth_first(graph, start, end)
    return [graph.names[i] for i in path_to(previous, end)] if distance[end] >= 0 else None


def hop_count(edges, nodes, source, target):
    """The number of updates (eq 14) that carry information from `source` to `target`: the edges of a shortest path, 0
    for source = target, `None` where there is no path. Raises `ValueError` as `neighbour_lists` does, and for an
    unknown `source` or `target`."""
    graph = neighbour_lists(edges, nodes)
    start, end = graph.index(source), graph.index(target)
    hops = int(breadth_first(graph, start, end)[0][end])
    return hops if hops >= 0 else None
