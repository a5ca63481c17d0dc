"""Graphs for Part 3: the two exercise graphs, their matrices (eqs 15-17) and a breadth-first search for any size.

Each update (eq 14) carries information one edge further, so Q3.2's number of updates is the length of a shortest path:

    >>> from part3.graph import EDGES, NODES, adjacency, add_self_loops, hop_count
    >>> add_self_loops(adjacency(EDGES["2020"], NODES))
    >>> hop_count(EDGES["2020"], NODES, "C", "E")

A graph is undirected: an edge is a pair of node names in either order, duplicates count once, and a self-loop is
ignored because eq 16 gives every node exactly one.
"""
from typing import NamedTuple

import numpy as np

from part1.cli import InputError

NODES = "ABCDEF"
EDGES = {
    "2019": [("A", "B"), ("A", "E"), ("A", "F"), ("B", "C"), ("B", "D"), ("C", "D"), ("D", "F"), ("E", "F")],
    "2020": [("A", "B"), ("A", "E"), ("A", "F"), ("B", "D"), ("C", "D"), ("D", "F")],
}


class Neighbours(NamedTuple):
    """An undirected graph as compressed neighbour lists: node i has neighbours `indices[indptr[i]:indptr[i + 1]]`.

    `indptr` is (N + 1,), `indices` (2 x edges,); each list is sorted, without duplicates and without the node itself.
    `names` is a sequence of the N node names.
    """

    indptr: np.ndarray
    indices: np.ndarray
    names: object

    @property
    def degree(self):
        """Number of neighbours of every node, (N,)."""
        return np.diff(self.indptr)

    @property
    def rows(self):
        """The node that each of `indices` is a neighbour of, (2 x edges,)."""
        return np.repeat(np.arange(len(self.names)), self.degree)

    def index(self, name):
        """The position of the node called `name`; `InputError` if there is none."""
        if name in self.names:
            return self.names.index(name)
        known = ", ".join(map(str, self.names[:8])) + (", …" if len(self.names) > 8 else "")
        raise InputError(f"no node {name!r} in the graph; its {len(self.names):,} nodes are {known}")


def compress(ends, names):
    """`Neighbours` from `ends`, an int64 array (edges, 2) of positions in the sequence `names`."""
    N = len(names)
    i, j = ends[ends[:, 0] != ends[:, 1]].T
    pairs = np.concatenate((i * N + j, j * N + i))
    pairs.sort()  # np.unique hashes since NumPy 2.3: ten times slower on ten million pairs
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    small = np.int32 if max(N, len(pairs)) < 2**31 else np.int64
    indptr = np.searchsorted(pairs, np.arange(N + 1) * N)
    return Neighbours(indptr.astype(small), (pairs % max(N, 1)).astype(small), names)


def neighbour_lists(edges, nodes):
    """`Neighbours` of `edges`, pairs of names, over the names `nodes`, in the order of `nodes`.

    Names are anything hashable. Raises `InputError` for a node listed twice or an edge with an unknown node.
    """
    names = list(nodes)
    position = dict(zip(names, range(len(names))))
    if len(position) < len(names):
        raise InputError("a node is listed twice")
    try:
        ends = [(position[a], position[b]) for a, b in edges]
    except KeyError as missing:
        raise InputError(f"an edge ends in {missing.args[0]!r}, which is not among the nodes") from None
    return compress(np.array(ends, dtype=np.int64).reshape(-1, 2), names)


def dense(graph):
    """The adjacency matrix A, (N, N) of 0 and 1, of `Neighbours`."""
    A = np.zeros((len(graph.names), len(graph.names)), dtype=np.int64)
    A[graph.rows, graph.indices] = 1
    return A


def adjacency(edges, nodes):
    """The adjacency matrix A, (N, N) of 0 and 1, without self-loops; arguments and errors as of `neighbour_lists`."""
    return dense(neighbour_lists(edges, nodes))


def add_self_loops(A):
    """Atilde = A + I (eq 16), (N, N); `InputError` unless `A` is symmetric, nowhere negative and without self-loops."""
    A = np.asarray(A)
    if A.shape != (len(A), len(A)) or A.diagonal().any() or (A != A.T).any() or (A < 0).any():
        raise InputError("A must be a symmetric matrix, nowhere negative and without self-loops (a zero diagonal)")
    return A + np.eye(len(A), dtype=A.dtype)


def normalized(A):
    """Ahat = D^-1/2 Atilde D^-1/2 (eq 15), (N, N), of an `A` as `add_self_loops` takes it.

    Its eigenvalues lie in (-1, 1], so that stacked layers do not blow up (Kipf & Welling, ICLR 2017).
    """
    A_tilde = add_self_loops(A)  # eq 16
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
    is none. Nodes are positions; a `target` ends the search at its level, and what lies further counts as no path.

    A level is expanded whole, from whichever side has fewer edges: from the frontier to the unseen nodes, or from the
    unseen nodes back to the frontier (Beamer, Asanović & Patterson, SC 2012), which halves the time on a random graph
    of 10^6 nodes. Time and memory are O(nodes + edges).
    """
    degree = graph.degree
    distance = np.full(len(degree), -1, dtype=graph.indices.dtype)
    previous = distance.copy()
    distance[source], level = 0, 0
    frontier = np.array([source], dtype=distance.dtype)
    edges_left = len(graph.indices) - degree[source]  # those that start in unseen nodes
    while len(frontier) and edges_left and (target is None or distance[target] < 0):
        level += 1
        if degree[frontier].sum() <= edges_left:
            parent, child = _edges_from(graph, degree, frontier)
            fresh = distance[child] < 0
        else:  # a seen neighbour of an unseen node is in the frontier: an earlier level would have seen the node
            child, parent = _edges_from(graph, degree, np.flatnonzero(distance < 0).astype(frontier.dtype))
            fresh = distance[parent] >= 0
        parent, child = parent[fresh], child[fresh]
        previous[child] = parent  # of several parents one stays, and that one edge lists its child exactly once
        frontier = child[previous[child] == parent]
        distance[frontier] = level
        edges_left -= degree[frontier].sum()
    return distance, previous


def spread(graph, source, target):
    """How information spreads over `Neighbours` from the node named `source` to the one named `target`: every node's
    distance, as `breadth_first` gives it, and the names on one shortest path, both ends included (`None` where there is
    no path). Raises `InputError` for an unknown name."""
    start, end = graph.index(source), graph.index(target)
    distance, previous = breadth_first(graph, start, end)
    if distance[end] < 0:
        return distance, None
    path = [end]
    while path[-1] != start:
        path.append(int(previous[path[-1]]))
    return distance, [graph.names[node] for node in reversed(path)]


def hop_count(edges, nodes, source, target):
    """The number of updates (eq 14) that carry information from `source` to `target`: 0 for source = target, `None`
    where there is no path. Raises `InputError` as `neighbour_lists` does, and for an unknown `source` or `target`."""
    _, path = spread(neighbour_lists(edges, nodes), source, target)
    return None if path is None else len(path) - 1
