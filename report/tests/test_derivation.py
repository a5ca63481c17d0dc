"""Question 1.1 of the report, proved by computing it: its formulas in NumPy against autograd's gradients."""
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from part1.vanilla_rnn import VanillaRNN

T, d, n, K = 9, 3, 6, 4


def problem(seed):
    """An RNN in double precision after a backward pass, and what the formulas need: its weights as NumPy, the inputs
    (T, d), the states h(0) … h(T) (T + 1, n) of equation 1, and yhat - y (K,)."""
    generator = torch.Generator().manual_seed(seed)
    network = VanillaRNN(T, d, n, K).double()
    network.backward_pass = "autograd"
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
    x = torch.randn(T, d, generator=generator, dtype=torch.float64)
    cross_entropy(network(x.unsqueeze(0)), torch.tensor([1])).backward()
    W = {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}
    x, h = x.numpy(), [np.zeros(n)]
    for x_t in x:
        h.append(np.tanh(W["W_hx"] @ x_t + W["W_hh"] @ h[-1] + W["b_h"]))
    p = W["W_ph"] @ h[T] + W["b_p"]
    return network, W, x, np.array(h), np.exp(p) / np.exp(p).sum() - np.eye(K)[1]


def full_sum(W, h, error):
    """Equation 3: the deltas (T, n), each from an explicit product of Jacobians."""
    D = [np.diag(1 - h_t ** 2) for h_t in h]
    deltas = []
    for t in range(1, T + 1):
        product = np.eye(n)
        for k in range(t + 1, T + 1):
            product = product @ W["W_hh"].T @ D[k]
        deltas.append(D[t] @ product @ W["W_ph"].T @ error)
    return np.array(deltas)


def recursion(W, h, error):
    """Equation 4: the deltas (T, n), from the last step backwards."""
    deltas = [(1 - h[T] ** 2) * (W["W_ph"].T @ error)]
    for t in range(T - 1, 0, -1):
        deltas.insert(0, (1 - h[t] ** 2) * (W["W_hh"].T @ deltas[0]))
    return np.array(deltas)


@pytest.mark.parametrize("formula", [full_sum, recursion])
def test_both_forms_are_autograds_gradients(formula):
    network, W, x, h, error = problem(0)
    deltas = formula(W, h, error)
    gradient = {"W_hh": deltas.T @ h[:-1], "W_hx": deltas.T @ x, "b_h": deltas.sum(axis=0),  # equations 2 and 5
                "W_ph": np.outer(error, h[T]), "b_p": error}
    assert set(gradient) == set(W)
    for name, parameter in network.named_parameters():
        np.testing.assert_allclose(gradient[name], parameter.grad.numpy(), rtol=0, atol=1e-10, err_msg=name)


def test_the_index_form_is_autograds_gradient():
    """The line above equation 3: dL/dW_hh entry by entry, from row vectors, Jacobians and the immediate derivative."""
    network, W, _, h, error = problem(3)
    gradient = np.zeros((n, n))
    for t in range(1, T + 1):
        row = error @ W["W_ph"]
        for k in range(T, t, -1):
            row = row @ np.diag(1 - h[k] ** 2) @ W["W_hh"]
        for i in range(n):
            for j in range(n):
                immediate = np.eye(n)[i] * (1 - h[t][i] ** 2) * h[t - 1][j]
                gradient[i, j] += row @ immediate
    np.testing.assert_allclose(gradient, network.W_hh.grad.numpy(), rtol=0, atol=1e-10)
