"""The graph functions against slow, independent counts: powers of a matrix, eigenvalues, a queue, the seed's matrix."""
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from part1.cli import InputError
from part3.graph import (adjacency, add_self_loops, breadth_first, compress, hop_count, neighbour_lists, normalized,
                         spread)

# As drawn in the assignments.
A_TILDE_2019 = [[1, 1, 0, 0, 1, 1],
                [1, 1, 1, 1, 0, 0],
                [0, 1, 1, 1, 0, 0],
                [0, 1, 1, 1, 0, 1],
                [1, 0, 0, 0, 1, 1],
                [1, 0, 0, 1, 1, 1]]
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


@settings(max_examples=200, deadline=None)
@given(small_graphs(), st.integers(0, 80))
def test_hops_are_the_first_power_that_is_not_zero(drawn, pair):
    edges, names = drawn
    source, target = names[pair // 9 % len(names)], names[pair % 9 % len(names)]
    i, j = names.index(source), names.index(target)
    expected = next((k for k, power in enumerate(powers(edges, names)) if power[i, j]), None)
    assert hop_count(edges, names, source, target) == expected
    path = spread(neighbour_lists(edges, names), source, target)[1]
    if expected is None:
        assert path is None
    else:
        assert (path[0], path[-1], len(path)) == (source, target, expected + 1)
        assert all((a, b) in edges or (b, a) in edges for a, b in zip(path, path[1:]))


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
    lists = compress(ends, range(nodes))
    distance, previous = breadth_first(lists, 7)
    assert distance.tolist() == [expected.get(node, -1) for node in range(nodes)]
    assert all(before in neighbours[node] and expected[before] == expected[node] - 1
               for node, before in enumerate(previous.tolist()) if distance[node] > 0)
    assert (previous[distance <= 0] == -1).all()
    far = max(expected, key=expected.get)
    assert len(spread(lists, 7, far)[1]) == expected[far] + 1


def test_a_search_with_a_target_ends_with_its_level():
    chain = neighbour_lists([(i, i + 1) for i in range(50)], range(51))
    assert breadth_first(chain, 0, 5)[0].tolist() == list(range(6)) + [-1] * 45


@settings(max_examples=120, deadline=None)
@given(small_graphs())
def test_matrices(drawn):
    edges, names = drawn
    A = adjacency(edges, names)
    np.testing.assert_array_equal(A, matrix_by_hand(edges, names))
    A_hat = normalized(A)
    degree = [1 + sum(row) for row in A.tolist()]
    for i in range(len(names)):
        for j in range(len(names)):
            assert A_hat[i, j] == pytest.approx((A[i, j] + (i == j)) / (degree[i] * degree[j]) ** 0.5, rel=1e-14)
    np.testing.assert_array_equal(A_hat, A_hat.T)
    eigenvalues = np.linalg.eigvalsh(A_hat)
    assert -1 < eigenvalues[0] and eigenvalues[-1] == pytest.approx(1, abs=1e-12)


def test_names_may_be_numbers_tuples_or_rows_of_an_array():
    assert hop_count([(1, 2), (2, 3)], [1, 2, 3], 1, 3) == 2
    assert hop_count([((0, 0), (0, 1))], [(0, 0), (0, 1), (1, 1)], (0, 0), (1, 1)) is None
    assert hop_count(np.array([[5, 6], [6, 9]]), range(10), 5, 9) == 2
    assert hop_count(iter([("A", "B")]), iter("AB"), "A", "B") == 1


@pytest.mark.parametrize("call, says", [
    (lambda: hop_count([("A", "B")], "AB", "A", "X"), "no node 'X'.*2 nodes are A, B"),
    (lambda: hop_count([("A", "X")], "AB", "A", "B"), "'X', which is not among the nodes"),
    (lambda: adjacency([], ["A", "B", "A"]), "listed twice"),
    (lambda: normalized(np.eye(3)), "without self-loops"),
    (lambda: add_self_loops(np.zeros((2, 3))), "symmetric"),
    (lambda: normalized(np.array([[0, 1], [0, 0]])), "symmetric"),
    (lambda: normalized(np.array([[0, -1], [-1, 0]])), "nowhere negative"),
])
def test_errors_say_what_is_wrong(call, says):
    with pytest.raises(InputError, match=says):
        call()
