"""The layers against their definitions written as loops, an impulse, permutations, and the two forms on each other."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from part1.cli import InputError
from part3 import layers
from part3.graph import EDGES, NODES, adjacency, neighbour_lists
from part3.tests.test_graph import matrix_by_hand, small_graphs


def identity(x):
    return x


def numbers(seed, *shapes):
    draw = np.random.default_rng(seed)
    return [draw.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("edition", EDGES)
def test_gcn_layer_is_equation_14(edition):
    A = adjacency(EDGES[edition], NODES)
    H, W = numbers(0, (6, 3), (3, 2))
    degree = [1 + sum(row) for row in A.tolist()]
    for i in range(6):
        for k in range(2):
            total = sum(H[j, c] * W[c, k] / math.sqrt(degree[i] * degree[j])
                        for j in range(6) if i == j or A[i, j] for c in range(3))
            assert layers.gcn_layer(A, H, W)[i, k] == pytest.approx(max(total, 0), abs=1e-13)
            assert layers.gcn_layer(A, H, W, sigma=identity)[i, k] == pytest.approx(total, abs=1e-13)


@pytest.mark.parametrize("edition", EDGES)
def test_attention_is_equations_1_to_3_of_velickovic(edition):
    A = adjacency(EDGES[edition], NODES)
    H, W, a = numbers(1, (6, 3), (3, 2), 4)
    alpha, out = layers.attention(A, H, W, a), layers.gat_layer(A, H, W, a, sigma=identity)
    negative = 0
    for i in range(6):
        score = {}
        for j in range(6):
            if i == j or A[i, j]:
                e = float(a @ np.concatenate((H[i] @ W, H[j] @ W)))
                negative += e < 0
                score[j] = math.exp(e if e > 0 else 0.2 * e)
        for j in range(6):
            assert alpha[i, j] == pytest.approx(score.get(j, 0) / sum(score.values()), abs=1e-14)
        expected = sum(score[j] / sum(score.values()) * (H[j] @ W) for j in score)
        np.testing.assert_allclose(out[i], expected, atol=1e-13)
    assert negative  # else the slope would go untested


@settings(max_examples=120, deadline=None)
@given(small_graphs(), st.integers(0, 4))
def test_an_impulse_reaches_exactly_the_nodes_within_k_hops(drawn, k):
    edges, names = drawn
    A, lists = adjacency(edges, names), neighbour_lists(edges, names)
    reach = np.linalg.matrix_power(matrix_by_hand(edges, names) + np.eye(len(names), dtype=int), k)[0] > 0
    W, a = np.abs(numbers(k, (2, 2), 4)[0]) + 0.1, numbers(k, 4)[0]
    H = [np.zeros((len(names), 2)) for _ in range(4)]
    for h in H:
        h[0] = 1
    for _ in range(k):
        H = [layers.gcn_layer(A, H[0], W, identity),
             layers.gcn_layer_on_edges(lists, H[1], W, identity),
             layers.gat_layer(A, H[2], W, a, identity),
             layers.gat_layer_on_edges(lists, H[3], W, a, identity)]
    for h in H:
        np.testing.assert_array_equal((h != 0).all(axis=1), reach)
        np.testing.assert_array_equal((h != 0).any(axis=1), reach)


@settings(max_examples=120, deadline=None)
@given(small_graphs(), st.integers(0, 2**32 - 1))
def test_edge_form_equals_dense_form(drawn, seed):
    edges, names = drawn
    A, lists = adjacency(edges, names), neighbour_lists(edges, names)
    H, W, a = numbers(seed, (len(names), 3), (3, 4), 8)
    np.testing.assert_allclose(layers.gcn_layer_on_edges(lists, H, W), layers.gcn_layer(A, H, W), atol=1e-12)
    np.testing.assert_allclose(layers.gat_layer_on_edges(lists, H, W, a), layers.gat_layer(A, H, W, a), atol=1e-12)
    i, j, alpha = layers.attention_on_edges(lists, H, W, a)
    scattered = np.zeros_like(A, dtype=float)
    np.add.at(scattered, (i, j), alpha)
    np.testing.assert_allclose(scattered, layers.attention(A, H, W, a), atol=1e-12)


def test_large_scores_do_not_overflow():
    H, W, a = numbers(2, (6, 3), (3, 2), 4)
    alpha = layers.attention(adjacency(EDGES["2019"], NODES), H * 1000, W, a)
    np.testing.assert_allclose(alpha.sum(axis=1), 1, rtol=1e-12)
    i, _, on_edges = layers.attention_on_edges(neighbour_lists(EDGES["2019"], NODES), H * 1000, W, a)
    np.testing.assert_allclose(np.bincount(i, on_edges), 1, rtol=1e-12)


def test_activations():
    x = np.array([-800.0, -1.0, 0.0, 2.0, 800.0])
    with np.errstate(over="raise"):
        np.testing.assert_allclose(layers.relu(x), [0, 0, 0, 2, 800])
        np.testing.assert_allclose(layers.elu(x), [-1, math.exp(-1) - 1, 0, 2, 800])
        np.testing.assert_allclose(layers.leaky_relu(x), [-160, -0.2, 0, 2, 800])


def test_a_hub_with_70000_neighbours():
    """Its degree squared does not fit an int32."""
    star = neighbour_lists(np.column_stack((np.zeros(70000, dtype=int), np.arange(1, 70001))), range(70001))
    H = layers.gcn_layer_on_edges(star, np.eye(70001, 1), [[1.0]])
    assert H[0, 0] == pytest.approx(1 / 70001) and H[1:] == pytest.approx(1 / math.sqrt(2 * 70001))


@pytest.mark.parametrize("H, W", [((5, 3), (3, 2)), ((7, 3), (3, 2)), ((6,), (3, 2)), ((6, 3), (2, 2))])
def test_wrong_shapes(H, W):
    A, lists = adjacency(EDGES["2019"], NODES), neighbour_lists(EDGES["2019"], NODES)
    H, W, a = numbers(0, H, W, 4)
    for layer, graph in ((layers.gat_layer, A), (layers.gat_layer_on_edges, lists)):
        with pytest.raises(InputError, match=r"H must be \(6, d\) and W \(d, d'\), not \("):
            layer(graph, H, W, a)
