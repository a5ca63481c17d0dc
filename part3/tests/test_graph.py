"""The graph functions against slow, independent counts: powers of a matrix, eigenvalues, a queue, the seed's matrix."""
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from part3 import graph
from part3.graph import EDGES, NODES, adjacency, add_self_loops, hop_count, neighbour_lists, normalized, shortest_path

# As printed in the second seed, Q3.2 a.
A_TILDE_2020 = [[1, 1, 0, 0, 1, 1],
                [1, 1, 0, 1, 0, 0],
                [0, 0, 1, 1, 0, 0],
                [0, 1, 1, 1, 0, 1],
                [1, 0, 0, 0, 1, 0],
                [1, 0, 0, 1, 0, 1]]


@st.composite
def small_graphs(draw):
    """Up to 9 nodes, not in the order of their names, and up to 14 edges; also self-loops, duplicates, islands."""
    N = draw(st.integers(1, 9))
    names = list("rxpwtqvsu"[:N])
    return [(names[k // N], names[k % N]) for k in draw(st.lists(st.integers(0, N * N - 1), max_size=14))], names


def matrix_by_hand(edges, names):
    A = [[0] * len(names) for _ in names]
    for left, right in edges:
        if left != right:
            A[names.index(left)][names.index(right)] = A[names.index(right)][names.index(left)] = 1
    return np.array(A)


def powers(edges, names):
    """(A + I)^k for k = 0 … N - 1, by repeated multiplication."""
    reach, power = matrix_by_hand(edges, names) + np.eye(len(names), dtype=int), np.eye(len(names), dtype=int)
    for _ in names:
        yield power
        power = power @ reach


def test_2020_matrix_is_the_seeds():
    np.testing.assert_array_equal(add_self_loops(adjacency(EDGES["2020"], NODES)), A_TILDE_2020)


def test_2019_matrix_has_two_edges_more():
    more = add_self_loops(adjacency(EDGES["2019"], NODES)) - A_TILDE_2020
    assert [(NODES[i], NODES[j]) for i, j in np.argwhere(np.triu(more))] == [("B", "C"), ("E", "F")]
    assert more.sum() == 4


@pytest.mark.parametrize("edition, updates, paths", [("2019", 3, ["CDFE", "CBAE"]), ("2020", 4, ["CDBAE", "CDFAE"])])
def test_updates_and_path_of_both_editions(edition, updates, paths):
    assert hop_count(EDGES[edition], NODES, "C", "E") == updates
    assert hop_count(EDGES[edition], NODES, "E", "C") == updates
    assert "".join(shortest_path(EDGES[edition], NODES, "C", "E")) in paths


@settings(max_examples=700, deadline=None)
@given(small_graphs(), st.integers(0, 80))
def test_hops_are_the_first_power_that_is_not_zero(drawn, pair):
    edges, names = drawn
    source, target = names[pair // 9 % len(names)], names[pair % 9 % len(names)]
    i, j = names.index(source), names.index(target)
    expected = next((k for k, power in enumerate(powers(edges, names)) if power[i, j]), None)
    assert hop_count(edges, names, source, target) == expected
    path = shortest_path(edges, names, source, target)
    if expected is None:
        assert path is None
    else:
        assert (path[0], path[-1], len(path)) == (source, target, expected + 1)
        assert all((a, b) in edges or (b, a) in edges for a, b in zip(path, path[1:]))


def test_hops_of_4000_random_graphs():
    """The same count on every density, from no edge to all 21 of seven nodes."""
    draw = np.random.default_rng(0)
    A = np.triu(draw.random((4000, 7, 7)) < draw.random((4000, 1, 1)), 1)
    reach = np.eye(7, dtype=int) + A + A.transpose(0, 2, 1)
    power, expected = np.eye(7, dtype=int)[None], np.full(4000, -1)
    for k in range(7):
        expected[(power[:, 0, 6] > 0) & (expected < 0)] = k
        power = power @ reach
    assert set(expected) >= {-1, 1, 2, 3, 4, 5}
    for own, hops in zip(A, expected.tolist()):
        assert hop_count(np.argwhere(own), range(7), 0, 6) == (None if hops < 0 else hops)


@settings(max_examples=300, deadline=None)
@given(small_graphs())
def test_all_distances_and_predecessors_from_one_search(drawn):
    edges, names = drawn
    reached = np.array([power[0] > 0 for power in powers(edges, names)])
    expected = np.where(reached.any(axis=0), reached.argmax(axis=0), -1)
    distance, previous = graph.breadth_first(neighbour_lists(edges, names), 0)
    np.testing.assert_array_equal(distance, expected)
    for node, before in enumerate(previous):
        if expected[node] > 0:
            assert {(names[before], names[node]), (names[node], names[before])} & set(edges)
            assert expected[before] == expected[node] - 1
        else:
            assert before == -1


@pytest.mark.parametrize("nodes, edges", [(3000, 1200), (3000, 3000), (3000, 9000), (400, 20000)])
def test_large_random_graph_against_a_queue(nodes, edges):
    """Sizes at which the search changes sides: sparse with islands, and dense with two levels."""
    ends = np.random.default_rng(edges).integers(nodes, size=(edges, 2))
    neighbours = [set() for _ in range(nodes)]
    for left, right in ends.tolist():
        neighbours[left].add(right)
        neighbours[right].add(left)
    expected, queue = {7: 0}, deque([7])
    while queue:
        node = queue.popleft()
        for other in neighbours[node]:
            if other not in expected:
                expected[other] = expected[node] + 1
                queue.append(other)
    lists = graph.compress(ends, range(nodes))
    distance, previous = graph.breadth_first(lists, 7)
    assert distance.tolist() == [expected.get(node, -1) for node in range(nodes)]
    assert all(before in neighbours[node] and expected[before] == expected[node] - 1
               for node, before in enumerate(previous.tolist()) if before >= 0)
    far = max(expected, key=expected.get)
    assert graph.breadth_first(lists, 7, far)[0][far] == expected[far]
    assert len(graph.path_to(previous, far)) == expected[far] + 1


@pytest.mark.parametrize("ends, share", [
    (np.random.default_rng(0).integers(1000, size=(5000, 2)), 0.5),  # from the frontier alone it would be 1
    (np.column_stack((np.arange(999), np.arange(1, 1000))), 1),  # from the unseen alone it would be 500
])
def test_a_level_is_expanded_from_the_side_with_fewer_edges(monkeypatch, ends, share):
    lists, looked_at, expand = graph.compress(ends, range(1000)), [], graph._edges_from
    monkeypatch.setattr(graph, "_edges_from", lambda *args: looked_at.append(len(expand(*args)[0])) or expand(*args))
    assert graph.breadth_first(lists, 0)[0].min() == 0
    assert sum(looked_at) <= share * len(lists.indices)


def test_a_search_with_a_target_ends_with_its_level():
    chain = neighbour_lists([(i, i + 1) for i in range(50)], range(51))
    assert graph.breadth_first(chain, 0, 5)[0].tolist() == list(range(6)) + [-1] * 45


def test_many_levels_from_the_middle_of_a_chain():
    chain = graph.compress(np.column_stack((np.arange(999), np.arange(1, 1000))), range(1000))
    distance, _ = graph.breadth_first(chain, 500)
    np.testing.assert_array_equal(distance, np.abs(np.arange(1000) - 500))


@settings(max_examples=300, deadline=None)
@given(small_graphs())
def test_matrices(drawn):
    edges, names = drawn
    A = adjacency(edges, names)
    np.testing.assert_array_equal(A, matrix_by_hand(edges, names))
    np.testing.assert_array_equal(add_self_loops(A), A + np.diag([1] * len(names)))
    A_hat = normalized(A)
    degree = [1 + sum(row) for row in A.tolist()]
    for i in range(len(names)):
        for j in range(len(names)):
            assert A_hat[i, j] == pytest.approx((A[i, j] + (i == j)) / (degree[i] * degree[j]) ** 0.5, rel=1e-14)
    np.testing.assert_array_equal(A_hat, A_hat.T)
    eigenvalues = np.linalg.eigvalsh(A_hat)
    assert -1 < eigenvalues[0] and eigenvalues[-1] == pytest.approx(1, abs=1e-12)


def test_neighbour_lists_are_sorted_and_small():
    lists = neighbour_lists([("b", "a"), ("a", "b"), ("c", "c"), ("a", "d"), ("d", "b")], "dcba")
    assert lists.indptr.tolist() == [0, 2, 2, 4, 6] and lists.indices.tolist() == [2, 3, 0, 3, 0, 2]
    assert lists.indptr.dtype == lists.indices.dtype == np.int32
    assert lists.degree.tolist() == [2, 0, 2, 2]


def test_names_may_be_numbers_tuples_or_rows_of_an_array():
    assert hop_count([(1, 2), (2, 3)], [1, 2, 3], 1, 3) == 2
    assert hop_count([((0, 0), (0, 1))], [(0, 0), (0, 1), (1, 1)], (0, 0), (1, 1)) is None
    assert hop_count(np.array([[5, 6], [6, 9]]), range(10), 5, 9) == 2
    assert hop_count(iter([("A", "B")]), iter("AB"), "A", "B") == 1


@pytest.mark.parametrize("call, says", [
    (lambda: hop_count([("A", "B")], "AB", "A", "X"), "no node 'X'.*2 nodes are A, B"),
    (lambda: hop_count([("A", "B")], "AB", "X", "A"), "no node 'X'"),
    (lambda: shortest_path([("A", "B")], "AB", "X", "A"), "no node 'X'"),
    (lambda: hop_count([("A", "X")], "AB", "A", "B"), "'X', which is not among the nodes"),
    (lambda: adjacency([("A", "X")], "AB"), "'X', which is not among the nodes"),
    (lambda: adjacency([("A", "B", "C")], "ABC"), r"a pair of nodes, not \('A', 'B', 'C'\)"),
    (lambda: adjacency([("A",), ("A", "B", "A")], "AB"), r"a pair of nodes, not \('A',\)"),
    (lambda: adjacency([1, 2], [1, 2]), "pairs of node names"),
    (lambda: adjacency([], ["A", "B", "A"]), "listed twice"),
    (lambda: adjacency([], [["A"], ["B"]]), "hashable"),
    (lambda: adjacency([], range(10**6)), r"1,000,000 x 1,000,000 matrix needs 7,450.6 GiB"),
    (lambda: normalized(np.eye(3)), "without self-loops"),
    (lambda: add_self_loops(np.zeros((2, 3))), r"square matrix, not of shape \(2, 3\)"),
    (lambda: normalized(np.array([[0, 1], [0, 0]])), "symmetric"),
    (lambda: normalized(np.array([[0, -1], [-1, 0]])), "nowhere negative"),
    (lambda: graph.compress([[0, 3]], range(3)), "outside 0 … 2"),
    (lambda: graph.compress([[-1, 0]], range(3)), "outside 0 … 2"),
    (lambda: graph.compress([0, 1], range(3)), r"shape \(edges, 2\)"),
])
def test_errors_say_what_is_wrong(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_the_dense_limit_lets_its_own_size_through(monkeypatch):
    monkeypatch.setattr(graph, "DENSE_GIB", 100 * 100 * 8 / 2**30)
    assert adjacency([], range(100)).shape == (100, 100)
    with pytest.raises(ValueError, match="101 x 101"):
        adjacency([], range(101))
