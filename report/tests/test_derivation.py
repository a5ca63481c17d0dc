"""Question 1.1 of the report, proved by computing it: its two formulas in NumPy against autograd's gradients."""
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from part1.vanilla_rnn import VanillaRNN

T, d, n, K = 9, 3, 6, 4


def problem(seed):
    """An RNN in double precision, one sequence (T, d) of vectors and its label; NumPy copies of the weights."""
    generator = torch.Generator().manual_seed(seed)
    network = VanillaRNN(T, d, n, K).double()
    network.backward_pass = "autograd"
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
    x = torch.randn(T, d, generator=generator, dtype=torch.float64)
    return network, x, int(torch.randint(K, (), generator=generator)), {
        name: parameter.detach().numpy() for name, parameter in network.named_parameters()}


def forward(W, x, label):
    """Equation 1: h(0) … h(T) as rows of (T + 1, n), and yhat - y, (K,)."""
    h = [np.zeros(n)]
    for x_t in x:
        h.append(np.tanh(W["W_hx"] @ x_t + W["W_hh"] @ h[-1] + W["b_h"]))
    p = W["W_ph"] @ h[T] + W["b_p"]
    yhat = np.exp(p - p.max()) / np.exp(p - p.max()).sum()
    return np.array(h), yhat - np.eye(K)[label]


def full_sum(W, x, label):
    """Equation 3, term by term, with explicit Jacobians."""
    h, error = forward(W, x, label)
    D = [None] + [np.diag(1 - h[t] ** 2) for t in range(1, T + 1)]
    gradient = {name: np.zeros_like(W[name]) for name in ("W_hh", "W_hx", "b_h")}
    for t in range(1, T + 1):
        product = np.eye(n)
        for k in range(t + 1, T + 1):
            product = product @ W["W_hh"].T @ D[k]
        delta = D[t] @ product @ W["W_ph"].T @ error
        gradient["W_hh"] += np.outer(delta, h[t - 1])
        gradient["W_hx"] += np.outer(delta, x[t - 1])
        gradient["b_h"] += delta
    return gradient | {"W_ph": np.outer(error, h[T]), "b_p": error}


def index_form(W, x, label):
    """The line above equation 3: dL/dW_hh entry by entry, from row vectors, Jacobians and the immediate derivative."""
    h, error = forward(W, x, label)
    jacobian = [None] + [np.diag(1 - h[k] ** 2) @ W["W_hh"] for k in range(1, T + 1)]
    gradient = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            for t in range(1, T + 1):
                row = error @ W["W_ph"]
                for k in range(T, t, -1):
                    row = row @ jacobian[k]
                immediate = np.zeros(n)
                immediate[i] = (1 - h[t][i] ** 2) * h[t - 1][j]
                gradient[i, j] += row @ immediate
    return gradient


def recursion(W, x, label):
    """Equations 4 and 5, from the last step backwards."""
    h, error = forward(W, x, label)
    delta = (1 - h[T] ** 2) * (W["W_ph"].T @ error)
    gradient = {name: np.zeros_like(W[name]) for name in ("W_hh", "W_hx", "b_h")}
    for t in range(T, 0, -1):
        gradient["W_hh"] += np.outer(delta, h[t - 1])
        gradient["W_hx"] += np.outer(delta, x[t - 1])
        gradient["b_h"] += delta
        delta = (1 - h[t - 1] ** 2) * (W["W_hh"].T @ delta)
    return gradient | {"W_ph": np.outer(error, h[T]), "b_p": error}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("formula", [full_sum, recursion])
def test_both_forms_are_autograds_gradients(formula, seed):
    network, x, label, W = problem(seed)
    cross_entropy(network(x.unsqueeze(0)), torch.tensor([label])).backward()
    gradient = formula(W, x.numpy(), label)
    assert set(gradient) == set(W)
    for name, parameter in network.named_parameters():
        np.testing.assert_allclose(gradient[name], parameter.grad.numpy(), rtol=0, atol=1e-10, err_msg=name)


def test_the_index_form_is_the_matrix_form():
    _, x, label, W = problem(3)
    np.testing.assert_allclose(index_form(W, x.numpy(), label), full_sum(W, x.numpy(), label)["W_hh"], atol=1e-12)


def test_the_bound_on_the_gradient_holds_and_a_formula_without_the_recurrent_weights_does_not_match():
    _, x, label, W = problem(4)
    h, error = forward(W, x.numpy(), label)
    sigma = np.linalg.svd(W["W_hh"], compute_uv=False)[0]
    gamma = (1 - h[1:] ** 2).max()
    dh = [W["W_ph"].T @ error]
    for t in range(T, 1, -1):
        dh.append(W["W_hh"].T @ ((1 - h[t] ** 2) * dh[-1]))
        assert np.linalg.norm(dh[-1]) <= (gamma * sigma) ** (T - t + 1) * np.linalg.norm(dh[0]) * (1 + 1e-12)

    without = sum(np.outer(np.prod(1 - h[t:] ** 2, axis=0) * dh[0], h[t - 1]) for t in range(1, T + 1))
    assert np.abs(without - recursion(W, x.numpy(), label)["W_hh"]).max() > 1e-3
