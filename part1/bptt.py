"""Backpropagation through time by hand: the derivatives of RNN, LSTM and peephole LSTM, line by line (Question 1.1).

What a network computes is defined by `step` in `vanilla_rnn.py`, `lstm.py` and `peep_lstm.py`; `--backward autograd`
runs that. By default the same equations run from here, tested equal and faster (`part1.benchmark` says by how much):
with the gates stacked in one matrix, a step takes one product (PeepLSTM: two) where autograd takes two per gate. For
the loss L of the last step and each gate *,

    a_*(t)     = W_*h h(t-1) + W_*x x(t) + b_*      what the gate's nonlinearity is applied to
    delta_*(t) = dL/da_*(t)
    dL/dW_*h   = sum_t delta_*(t) h(t-1)^T,   dL/dW_*x = sum_t delta_*(t) x(t)^T,   dL/db_* = sum_t delta_*(t)

In the code dh and dc are dL/dh(t) and dL/dc(t) along every path. The batch is the last dimension of every matrix, so
that a gate is n rows of W = [W_*h W_*x b_*], (gates n, n + d + 1), and of a = W [h(t-1); x(t); 1].
"""
import torch
from torch.autograd.function import once_differentiable

sigmoid_backward = torch.ops.aten.sigmoid_backward  # (ds, s): ds * s * (1 - s)
tanh_backward = torch.ops.aten.tanh_backward  # (dy, y): dy * (1 - y^2)


def tanh_(a):
    """tanh in place, as 2 sigmoid(2a) - 1: takes half the time of torch's, which saves a tenth of an RNN's update."""
    return a.mul_(2).sigmoid_().mul_(2).sub_(1)


class RNN:
    """Equation (1) of the vanilla RNN, forwards and backwards."""

    gates = "h"  # how W is stacked

    @staticmethod
    def forward(W, x, h):
        """Yield h(t), (n, batch), and what `backward` needs, for each x(t) of x, (T, d, batch); `h` is h(0)."""
        one = torch.ones_like(h[:1])
        for x_t in x:
            inputs = torch.cat([h, x_t, one])
            h = tanh_(W @ inputs)  # (1)
            yield h, (inputs, h)

    @staticmethod
    def backward(W, steps, dh):
        """dL/dW from dL/dh(T), (n, batch), and what `forward` kept."""
        dW_T, W_h = W.new_zeros(W.shape[::-1]), W[:, :len(dh)]  # dW^T, as its products are a fifth faster
        for inputs, h in reversed(steps):
            delta = tanh_backward(dh, h)  # delta = dh * (1 - h^2)
            dW_T.addmm_(inputs, delta.T)  # dW += delta [h(t-1); x; 1]^T
            dh = W_h.T @ delta  # dh(t-1) = W_hh^T delta
        return dW_T.T


class LSTM:
    """Equations (4) to (9) of the LSTM, forwards and backwards."""

    gates = "gifo"

    @staticmethod
    def forward(W, x, h):
        one, c = torch.ones_like(h[:1]), h
        for x_t in x:
            inputs = torch.cat([h, x_t, one])
            gates = W @ inputs
            g, i, f, o = gates.chunk(4)
            tanh_(g)  # (4)
            gates[len(g):].sigmoid_()  # (5) to (7)
            c_before, c = c, torch.addcmul(c * f, g, i)  # (8): g * i + c * f
            tanh_c = tanh_(c.clone())
            h = tanh_c * o  # (9)
            yield h, (inputs, gates, c_before, tanh_c)

    @staticmethod
    def backward(W, steps, dh):
        dW_T, dc, W_h = W.new_zeros(W.shape[::-1]), torch.zeros_like(dh), W[:, :len(dh)]
        for inputs, gates, c_before, tanh_c in reversed(steps):
            g, i, f, o = gates.chunk(4)
            dc += tanh_backward(dh * o, tanh_c)  # dc += dh * o * (1 - tanh(c)^2)
            delta = torch.cat([tanh_backward(dc * i, g),  # delta_g = dc * i * (1 - g^2)
                               sigmoid_backward(dc * g, i),  # delta_i = dc * g * i * (1 - i)
                               sigmoid_backward(dc * c_before, f),  # delta_f = dc * c(t-1) * f * (1 - f)
                               sigmoid_backward(dh * tanh_c, o)])  # delta_o = dh * tanh(c) * o * (1 - o)
            dW_T.addmm_(inputs, delta.T)  # dW += delta [h(t-1); x; 1]^T
            dh = W_h.T @ delta  # dh(t-1) = sum_* W_*h^T delta_*
            dc *= f  # dc(t-1), but for what comes through h(t-1)
        return dW_T.T


class PeepLSTM:
    """The equations of the peephole LSTM, forwards and backwards: c recurs; o and h matter at the last step alone."""

    gates = "cfio"

    @staticmethod
    def forward(W, x, c):
        n, one = len(c), torch.ones_like(c[:1])
        W_c, W_fi, W_o = W[:n, n:], W[n:3 * n], W[3 * n:]  # the candidate has no W_ch
        for x_t in x:
            inputs = torch.cat([c, x_t, one])
            candidate, fi = (W_c @ inputs[n:]).sigmoid_(), (W_fi @ inputs).sigmoid_()
            f, i = fi.chunk(2)
            c = candidate * i + c * f
            yield None, (inputs, candidate, fi)
        o, tanh_c = (W_o @ inputs).sigmoid_(), tanh_(c.clone())
        yield tanh_c * o, (inputs, o, tanh_c)

    @staticmethod
    def backward(W, steps, dh):
        n, dW_T = len(dh), W.new_zeros(W.shape[::-1])
        dW_c_T, dW_fi_T, dW_o_T = dW_T[n:, :n], dW_T[:, n:3 * n], dW_T[:, 3 * n:]
        *steps, (inputs, o, tanh_c) = steps
        delta_o = sigmoid_backward(dh * tanh_c, o)  # delta_o = dh * tanh(c) * o * (1 - o)
        dW_o_T.addmm_(inputs, delta_o.T)
        dc = tanh_backward(dh * o, tanh_c)  # dc(T) = dh * o * (1 - tanh(c)^2)
        through_o = W[3 * n:, :n].T @ delta_o  # o(T) read c(T-1)
        for inputs, candidate, fi in reversed(steps):
            f, i = fi.chunk(2)
            delta_c = sigmoid_backward(dc * i, candidate)
            delta_fi = torch.cat([sigmoid_backward(dc * inputs[:n], f),  # delta_f = dc * c(t-1) * f * (1 - f)
                                  sigmoid_backward(dc * candidate, i)])
            dW_c_T.addmm_(inputs[n:], delta_c.T)
            dW_fi_T.addmm_(inputs, delta_fi.T)
            dc = dc * f + W[n:3 * n, :n].T @ delta_fi + through_o  # dc(t-1)
            through_o = 0
        return dW_T.T


class Backpropagation(torch.autograd.Function):
    """h(T), (batch, n), from one of the classes above, x (batch, T, d) and weights by name; differentiable once."""

    @staticmethod
    def forward(ctx, cell, names, x, *weights):
        weights = dict(zip(names, weights))
        W, kept = stacked(cell, weights), []
        for h, tensors in cell.forward(W, *arranged(x, weights)):
            kept += tensors
        ctx.save_for_backward(W, *kept)
        ctx.cell, ctx.names, ctx.d, ctx.per_step = cell, names, x.shape[2], len(tensors)
        return h.T.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, dh):
        W, *kept = ctx.saved_tensors
        steps = [kept[k:k + ctx.per_step] for k in range(0, len(kept), ctx.per_step)]
        dW = ctx.cell.backward(W, steps, dh.T.contiguous())
        gradients = {}
        for gate, rows in zip(ctx.cell.gates, dW.chunk(len(ctx.cell.gates))):
            gradients[f"W_{gate}h"], gradients[f"W_{gate}x"], db = rows.split([len(rows), ctx.d, 1], dim=1)
            gradients[f"b_{gate}"] = db.squeeze(1)
        return None, None, None, *(gradients[name].contiguous() for name in ctx.names)


def stacked(cell, weights):
    """W, (gates n, n + d + 1), from a dict of weights; a W_*h that is not there is zero."""
    rows = []
    for gate in cell.gates:
        b = weights[f"b_{gate}"]
        W_h = weights.get(f"W_{gate}h", b.new_zeros(len(b), len(b)))
        rows.append(torch.cat([W_h, weights[f"W_{gate}x"], b.unsqueeze(1)], dim=1))
    return torch.cat(rows)


def arranged(x, weights):
    """x as (T, d, batch), and the state zero, (n, batch)."""
    x = x.permute(1, 2, 0)
    return x, x.new_zeros(len(next(iter(weights.values()))), x.shape[2])


def last_hidden(cell, x, weights):
    """h(T), (batch, n), from one of the classes above, inputs x (batch, T, d) and a dict of weights by name."""
    if torch.is_grad_enabled() and any(weight.requires_grad for weight in weights.values()):
        return Backpropagation.apply(cell, tuple(weights), x, *weights.values())
    for h, _ in cell.forward(stacked(cell, weights), *arranged(x, weights)):
        pass  # nothing is kept
    return h.T
