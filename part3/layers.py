"""The two graph layers of Part 3 in NumPy: graph convolution (Q3.1, eq 14) and graph attention (Q3.3 of 2020).

Each is written twice, and both give the same numbers: on a dense adjacency matrix, where the code reads as the
equation, and on `part3.graph.Neighbours`, where time and memory grow with the edges. Forward passes only.

    >>> import numpy as np
    >>> from part3.graph import EDGES, NODES, adjacency
    >>> from part3.layers import gcn_layer
    >>> gcn_layer(adjacency(EDGES["2019"], NODES), H=np.eye(6), W=np.ones((6, 2)))

Shapes: H (N, d) holds a node's features in each row, W is (d, d'), the result (N, d'); a, of the attention, is (2 d',).
The layers on edges take memory for (N + 2 x edges) x d' numbers.
"""
import numpy as np

from part1.cli import InputError
from part3.graph import add_self_loops, normalized


def relu(x):
    """max(x, 0), the activation of the GCN paper."""
    return np.maximum(x, 0)


def elu(x):
    """x above 0 and exp(x) - 1 below, the activation of the attention paper."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def leaky_relu(x):
    """x above 0 and 0.2 x below, as in the attention paper."""
    return np.where(x > 0, x, 0.2 * x)


def _times(H, W, N):
    """H W, (N, d'); `InputError` unless the shapes are (N, d) and (d, d')."""
    H, W = np.asarray(H), np.asarray(W)
    if H.ndim != 2 or W.ndim != 2 or len(H) != N or H.shape[1] != len(W):
        raise InputError(f"H must be ({N}, d) and W (d, d'), not {H.shape} and {W.shape}")
    return H @ W


def _with_self_loops(graph):
    """Atilde = A + I (eq 16) as neighbour lists: where each row starts, (N,), for `np.ufunc.reduceat`, and the row and
    the column of every entry, (N + 2 x edges,)."""
    node = np.arange(len(graph.names))
    start = graph.indptr[:-1] + node
    return start, np.repeat(node, graph.degree + 1), np.insert(graph.indices, graph.indptr[:-1], node)


def gcn_layer(A, H, W, sigma=relu):
    """H(l+1) = sigma(Ahat H(l) W(l)), (N, d'), for the adjacency matrix `A` (N, N) without self-loops.

    Source: Kipf & Welling, Semi-Supervised Classification with Graph Convolutional Networks, ICLR 2017.
    """
    A_hat = normalized(A)  # eqs 15-17
    return sigma(A_hat @ _times(H, W, len(A_hat)))  # eq 14


def gcn_layer_on_edges(graph, H, W, sigma=relu):
    """`gcn_layer` on `Neighbours`."""
    start, i, j = _with_self_loops(graph)
    D = graph.degree + 1.0  # eq 17; as floats, since a product of two large degrees overflows an int32
    A_hat = 1 / np.sqrt(D[i] * D[j])  # eq 15, its non-zero entries
    return sigma(np.add.reduceat(A_hat[:, None] * _times(H, W, len(D))[j], start))  # eq 14


def attention(A, H, W, a):
    """How much node i attends to node j: alpha_ij = softmax_j(LeakyReLU(a^T [W h_i || W h_j])), (N, N).

    The softmax runs over the neighbourhood of i, the node itself included; elsewhere alpha is 0.
    Source: Veličković et al., Graph Attention Networks, ICLR 2018, eqs 1-3.
    """
    A_tilde = add_self_loops(A)
    of_i, of_j = np.reshape(a, (2, -1)) @ _times(H, W, len(A_tilde)).T  # a^T [W h_i || W h_j] in two terms
    e = np.where(A_tilde != 0, leaky_relu(of_i[:, None] + of_j), -np.inf)
    weight = np.exp(e - e.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def gat_layer(A, H, W, a, sigma=elu):
    """h_i(l+1) = sigma(sum_j alpha_ij W h_j(l)), (N, d'): one attention head on the adjacency matrix `A` (N, N)."""
    return sigma(attention(A, H, W, a) @ _times(H, W, len(A)))


def attention_on_edges(graph, H, W, a):
    """`attention` on `Neighbours`: rows i, columns j and alpha_ij, each (N + 2 x edges,), sorted by i."""
    start, i, j = _with_self_loops(graph)
    of_i, of_j = np.reshape(a, (2, -1)) @ _times(H, W, len(start)).T
    e = leaky_relu(of_i[i] + of_j[j])
    weight = np.exp(e - np.maximum.reduceat(e, start)[i])
    return i, j, weight / np.add.reduceat(weight, start)[i]


def gat_layer_on_edges(graph, H, W, a, sigma=elu):
    """`gat_layer` on `Neighbours`."""
    i, j, alpha = attention_on_edges(graph, H, W, a)
    start = np.searchsorted(i, np.arange(len(graph.names)))
    return sigma(np.add.reduceat(alpha[:, None] * _times(H, W, len(start))[j], start))
