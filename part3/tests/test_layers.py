"""The layers against their definitions written as loops, an impulse, permutations, and the two forms on each other."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from part3 import layers
from part3.graph import EDGES, NODES, adjacency, breadth_first, neighbour_lists
from part3.tests.test_graph import matrix_by_hand, small_graphs


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
            assert layers.gcn_layer(A, H, W, sigma=layers.identity)[i, k] == pytest.approx(total, abs=1e-13)


@pytest.mark.parametrize("edition", EDGES)
def test_attention_is_equations_1_to_3_of_velickovic(edition):
    A = adjacency(EDGES[edition], NODES)
    H, W, a = numbers(1, (6, 3), (3, 2), 4)
    alpha, out = layers.attention(A, H, W, a), layers.gat_layer(A, H, W, a, sigma=layers.identity)
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
        H = [layers.gcn_layer(A, H[0], W, layers.identity),
             layers.gcn_layer_on_edges(lists, H[1], W, layers.identity),
             layers.gat_layer(A, H[2], W, a, layers.identity),
             layers.gat_layer_on_edges(lists, H[3], W, a, layers.identity)]
    for h in H:
        np.testing.assert_array_equal((h != 0).all(axis=1), reach)
        np.testing.assert_array_equal((h != 0).any(axis=1), reach)


def test_the_impulse_takes_as_many_layers_as_the_answer_says():
    for edition, updates in (("2019", 3), ("2020", 4)):
        H, A = np.eye(6)[:, [NODES.index("C")]], adjacency(EDGES[edition], NODES)
        heard = []
        for _ in range(5):
            heard.append(bool(H[NODES.index("E"), 0]))
            H = layers.gcn_layer(A, H, np.ones((1, 1)))
        assert heard.index(True) == updates


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


@settings(max_examples=120, deadline=None)
@given(small_graphs(), st.integers(0, 2**32 - 1), st.sampled_from([1, 1000]))
def test_attention_rows_sum_to_one_over_the_neighbourhood(drawn, seed, scale):
    edges, names = drawn
    A = adjacency(edges, names)
    H, W, a = numbers(seed, (len(names), 3), (3, 2), 4)
    alpha = layers.attention(A, H * scale, W, a)  # the large scores overflow unless the softmax is shifted
    np.testing.assert_allclose(alpha.sum(axis=1), 1, rtol=1e-12)
    assert not alpha[(A == 0) & ~np.eye(len(names), dtype=bool)].any()
    assert (alpha >= 0).all()
    if scale == 1:
        assert (alpha[(A == 1) | np.eye(len(names), dtype=bool)] > 0).all()
    i, _, on_edges = layers.attention_on_edges(neighbour_lists(edges, names), H * scale, W, a)
    np.testing.assert_allclose(np.bincount(i, on_edges), 1, rtol=1e-12)


@settings(max_examples=120, deadline=None)
@given(small_graphs(), st.data())
def test_permuting_the_nodes_permutes_the_output(drawn, data):
    edges, names = drawn
    order = np.array(data.draw(st.permutations(range(len(names)))))
    A, (H, W, a) = adjacency(edges, names), numbers(len(edges), (len(names), 3), (3, 2), 4)
    there, H_there = A[np.ix_(order, order)], H[order]
    np.testing.assert_allclose(layers.gcn_layer(there, H_there, W), layers.gcn_layer(A, H, W)[order], atol=1e-12)
    np.testing.assert_allclose(layers.gat_layer(there, H_there, W, a), layers.gat_layer(A, H, W, a)[order], atol=1e-12)
    lists = neighbour_lists(edges, [names[i] for i in order])
    np.testing.assert_allclose(layers.gat_layer_on_edges(lists, H_there, W, a), layers.gat_layer(A, H, W, a)[order],
                               atol=1e-12)


def test_activations():
    x = np.array([-800.0, -1.0, 0.0, 2.0, 800.0])
    with np.errstate(over="raise"):
        np.testing.assert_allclose(layers.relu(x), [0, 0, 0, 2, 800])
        np.testing.assert_allclose(layers.elu(x), [-1, math.exp(-1) - 1, 0, 2, 800])
        np.testing.assert_allclose(layers.leaky_relu(x), [-160, -0.2, 0, 2, 800])


def test_a_large_graph_takes_the_edge_form():
    """20,000 nodes, whose dense matrix is refused: the impulse still spreads as the search says."""
    ends = np.random.default_rng(0).integers(20000, size=(60000, 2))
    lists = neighbour_lists(ends, range(20000))
    H, W = np.eye(20000, 1), np.ones((1, 1))
    for _ in range(4):
        H = layers.gcn_layer_on_edges(lists, H, W)
    distance, _ = breadth_first(lists, 0)
    np.testing.assert_array_equal(H[:, 0] > 0, (distance >= 0) & (distance <= 4))


def test_a_hub_with_70000_neighbours():
    """Its degree squared does not fit an int32."""
    star = neighbour_lists(np.column_stack((np.zeros(70000, dtype=int), np.arange(1, 70001))), range(70001))
    H = layers.gcn_layer_on_edges(star, np.eye(70001, 1), [[1.0]])
    assert H[0, 0] == pytest.approx(1 / 70001) and H[1:] == pytest.approx(1 / math.sqrt(2 * 70001))


@pytest.mark.parametrize("H, W, a, says", [
    ((5, 3), (3, 2), 4, r"H must be \(6, d\).*\(5, 3\)"),
    ((6,), (3, 2), 4, r"H must be"),
    ((6, 3), (2, 2), 4, r"W must be \(3, d'\).*\(2, 2\)"),
    ((6, 3), (3, 2), 3, r"a must be of shape \(4,\), not \(3,\)"),
])
def test_wrong_shapes(H, W, a, says):
    A, lists = adjacency(EDGES["2019"], NODES), neighbour_lists(EDGES["2019"], NODES)
    H, W, a = numbers(0, H, W, a)
    calls = [lambda: layers.gat_layer(A, H, W, a), lambda: layers.gat_layer_on_edges(lists, H, W, a)]
    if "a must" not in says:
        calls += [lambda: layers.gcn_layer(A, H, W), lambda: layers.gcn_layer_on_edges(lists, H, W)]
    for call in calls:
        with pytest.raises(ValueError, match=says):
            call()
