"""The two graph layers of Part 3 in NumPy: graph convolution (Q3.1, eq 14) and graph attention (Q3.3 of 2020).

Each is written twice, once per representation, and both give the same numbers: on a dense adjacency matrix, where the
code reads as the equation, and on `part3.graph.Neighbours`, where time and memory grow with the edges instead of with
N^2. Forward passes only; `python -m pytest part3` checks them.

    >>> from part3.graph import EDGES, NODES, adjacency
    >>> from part3.layers import gcn_layer
    >>> gcn_layer(adjacency(EDGES["2019"], NODES), H=np.eye(6), W=np.ones((6, 2)))

Shapes: H (N, d) holds a node's features in each row, W is (d, d'), the result (N, d'). A wrong shape is a `ValueError`.
"""
import numpy as np

from part3.graph import add_self_loops, normalized

SLOPE = 0.2  # of the attention's LeakyReLU for negative scores (Veličković et al., ICLR 2018)


def identity(x):
    """sigma(x) = x, which leaves the linear message passing bare."""
    return x


def relu(x):
    """max(x, 0), the activation of the GCN paper."""
    return np.maximum(x, 0)


def elu(x):
    """x above 0 and exp(x) - 1 below, the activation of the attention paper."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def leaky_relu(x):
    """x above 0 and `SLOPE` x below."""
    return np.where(x > 0, x, SLOPE * x)


def _arrays(N, H, W, a=None):
    """H, W and, if given, a as arrays; `ValueError` unless they are (N, d), (d, d') and (2 d',)."""
    H, W = np.asarray(H), np.asarray(W)
    if H.ndim != 2 or len(H) != N:
        raise ValueError(f"H must be ({N}, d), one row per node, not of shape {H.shape}")
    if W.ndim != 2 or len(W) != H.shape[1]:
        raise ValueError(f"W must be ({H.shape[1]}, d'), not of shape {W.shape}")
    if a is not None and np.shape(a) != (2 * W.shape[1],):
        raise ValueError(f"a must be of shape ({2 * W.shape[1]},), not {np.shape(a)}")
    return (H, W) if a is None else (H, W, np.asarray(a))


def _with_self_loops(graph):
    """Atilde = A + I (eq 16) as neighbour lists: `start` (N,) of every row, and the row and the column of every entry,
    (N + 2 x edges,). No row is empty, as `np.ufunc.reduceat` needs."""
    node = np.arange(len(graph.names))
    start = graph.indptr[:-1] + node
    return start, np.repeat(node, graph.degree + 1), np.insert(graph.indices, graph.indptr[:-1], node)


def gcn_layer(A, H, W, sigma=relu):
    """H(l+1) = sigma(Ahat H(l) W(l)), (N, d'), for the adjacency matrix `A` (N, N) without self-loops.

    Source: Kipf & Welling, Semi-Supervised Classification with Graph Convolutional Networks, ICLR 2017.
    """
    A_hat = normalized(A)  # eqs 15-17
    H, W = _arrays(len(A_hat), H, W)
    return sigma(A_hat @ H @ W)  # eq 14


def gcn_layer_on_edges(graph, H, W, sigma=relu):
    """`gcn_layer` on `Neighbours`; memory for (nodes + 2 x edges) x d' numbers."""
    H, W = _arrays(len(graph.names), H, W)
    start, i, j = _with_self_loops(graph)
    D = graph.degree + 1.0  # eq 17; as floats, since a product of two large degrees overflows an int32
    A_hat = 1 / np.sqrt(D[i] * D[j])  # eq 15, its non-zero entries
    return sigma(np.add.reduceat(A_hat[:, None] * (H @ W)[j], start))  # eq 14


def attention(A, H, W, a):
    """How much node i attends to node j: alpha_ij = softmax_j(LeakyReLU(a^T [W h_i || W h_j])), (N, N).

    The softmax runs over the neighbourhood of i, the node itself included; elsewhere alpha is 0. `a` is (2 d',).
    Source: Veličković et al., Graph Attention Networks, ICLR 2018, eqs 1-3.
    """
    A_tilde = add_self_loops(A)
    H, W, a = _arrays(len(A_tilde), H, W, a)
    Wh = H @ W
    to, of = np.split(a, 2)  # a^T [W h_i || W h_j] = to^T W h_i + of^T W h_j
    e = leaky_relu((Wh @ to)[:, None] + Wh @ of)
    e = np.where(A_tilde != 0, e, -np.inf)
    weight = np.exp(e - e.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def gat_layer(A, H, W, a, sigma=elu):
    """h_i(l+1) = sigma(sum_j alpha_ij W h_j(l)), (N, d'): one attention head on the adjacency matrix `A` (N, N)."""
    return sigma(attention(A, H, W, a) @ np.asarray(H) @ W)


def attention_on_edges(graph, H, W, a):
    """`attention` on `Neighbours`: rows i, columns j and alpha_ij, each (N + 2 x edges,), sorted by i."""
    H, W, a = _arrays(len(graph.names), H, W, a)
    start, i, j = _with_self_loops(graph)
    Wh = H @ W
    to, of = np.split(a, 2)
    e = leaky_relu((Wh @ to)[i] + (Wh @ of)[j])
    weight = np.exp(e - np.maximum.reduceat(e, start)[i])
    return i, j, weight / np.add.reduceat(weight, start)[i]


def gat_layer_on_edges(graph, H, W, a, sigma=elu):
    """`gat_layer` on `Neighbours`; memory for (nodes + 2 x edges) x d' numbers."""
    i, j, alpha = attention_on_edges(graph, H, W, a)
    start = np.searchsorted(i, np.arange(len(graph.names)))
    return sigma(np.add.reduceat(alpha[:, None] * (np.asarray(H) @ W)[j], start))
