"""Backpropagation through time by hand: the networks of Part 1 unrolled, with the derivatives of their equations.

Nobody has to read this file to understand the networks: `step` in `vanilla_rnn.py`, `lstm.py` and `peep_lstm.py` says
what is computed, and `--backward autograd` runs just that. Here the same equations run faster, and every derivative
that autograd would find is a line of its own (Question 1.1). For the loss L of the last step and each gate *,

    a_*(t)     = W_*h h(t-1) + W_*x x(t) + b_*      what the gate's nonlinearity is applied to
    delta_*(t) = dL/da_*(t)
    dL/dW_*h   = sum_t delta_*(t) h(t-1)^T,   dL/dW_*x = sum_t delta_*(t) x(t)^T,   dL/db_* = sum_t delta_*(t)

and dh, dc are dL/dh(t), dL/dc(t) along every path. What makes it fast:

* Matrices carry the batch in their last dimension, so that each gate is a contiguous block of one stacked matrix, and
  all a(t) are one product, W [h(t-1); x(t); 1] with W = [W_h W_x b]. The gradients of W are one product too.
* One nonlinearity serves all gates: tanh(a) = 2 sigmoid(2a) - 1, as torch's sigmoid takes a third of its tanh's time.
* What the backward pass needs is written into a workspace that the next call takes over, views and all: for an LSTM
  over 100 steps the page faults of 54 MB of fresh memory can cost half as much as all matrix products.
* Where OpenMP's threads sleep when they have nothing to do (OMP_WAIT_POLICY=passive, as our scripts have it), a small
  network leaves them alone: to wake them several times a step takes longer than they save. Threads of our own share
  batches of 128 or more instead and meet only after the last step.
"""
import contextlib
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import torch
from torch.autograd.function import once_differentiable

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # (ds, s): ds * s * (1 - s)
tanh_backward = torch.ops.aten.tanh_backward.grad_input  # (dy, y): dy * (1 - y^2)

SPARE = weakref.WeakKeyDictionary()  # network: its workspaces (`Unrolled`) that no graph is using
SMALL = 2 ** 25  # multiplications of a product up to which one thread is faster than several that have to be woken
SLEEPING = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive"
LEAST = 64  # examples that a thread of ours is worth having for


def last_hidden(network, x):
    """h(T) of a `RecurrentNetwork`, (batch, num_hidden), from inputs x (batch, T, d); it can be differentiated once."""
    weights = cell_weights(network)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *weights.values())):
        spare = SPARE.setdefault(network, [])
        return Backpropagation.apply(network.unrolled, spare, list(weights), x, *weights.values())
    return torch.cat(side_by_side(partial(network.unrolled(part, network.num_hidden).forward, part, weights)
                                  for part in parts(network.unrolled, x, network.num_hidden)))


@torch.no_grad()
def gradients_through_time(network, x, labels):
    """What reaches each state when the cross-entropy of the last step is sent back through time (Question 1.7).

    Args:
        network: a `RecurrentNetwork`.
        x: a batch as its `forward` takes it.
        labels: int64 (batch,).

    Returns a dict from the names of the states to tensors (T, batch, num_hidden): entry t - 1 of "h" is dL/dh(t), of
    "c" dL/dc(t), L being each example's own loss. They are total derivatives, along every path from t on: dL/dc(t)
    counts what c(t) does through h(t).
    """
    x = network.encode(x)
    unrolled = network.unrolled(x, network.num_hidden, keep=True)
    p = unrolled.forward(x, cell_weights(network)) @ network.W_ph.T + network.b_p
    dp = p.softmax(dim=1)  # dL/dp = yhat - y
    dp[torch.arange(len(labels), device=dp.device), labels] -= 1
    unrolled.trace = []
    unrolled.backward(dp @ network.W_ph)  # dL/dh(T) = W_ph^T dL/dp
    return {name: torch.stack(gradients[::-1]) for name, gradients in zip(network.state, zip(*unrolled.trace))}


def cell_weights(network):
    """The parameters of `network` by name, without those of the output."""
    return {name: weight for name, weight in network.named_parameters() if name not in ("W_ph", "b_p")}


class Backpropagation(torch.autograd.Function):
    """h(T) from inputs and weights; its derivative is `Unrolled.backward`."""

    @staticmethod
    def forward(ctx, cell, spare, names, x, *weights):
        ctx.save_for_backward(x, *weights)
        ctx.cell, ctx.spare, ctx.names = cell, spare, names
        ctx.workspaces, h = unroll(cell, spare, x, dict(zip(names, weights)))
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx, dh):
        x, *weights = ctx.saved_tensors
        workspaces, ctx.workspaces = ctx.workspaces, None
        if workspaces is None:  # a second pass through a retained graph, whose first has given the workspaces away
            workspaces, _ = unroll(ctx.cell, ctx.spare, x, dict(zip(ctx.names, weights)))
        x_wanted = ctx.needs_input_grad[3]
        dh_parts = dh.split([unrolled.shape[0] for unrolled in workspaces])
        dx, (dweights, *others) = zip(*side_by_side(
            partial(unrolled.backward, part, x_wanted) for unrolled, part in zip(workspaces, dh_parts)))
        for other in others:
            for name, gradient in other.items():
                dweights[name].add_(gradient)
        if x.device.type == "cpu":  # on a GPU torch reuses memory itself
            ctx.spare.extend(workspaces)
        return None, None, None, torch.cat(dx) if x_wanted else None, *(dweights[name] for name in ctx.names)


def unroll(cell, spare, x, weights):
    """Go through all steps; returns an `Unrolled` for each of the `parts` of the batch, and h(T) of the whole."""
    n = len(next(iter(weights.values())))
    x_parts = parts(cell, x, n)
    workspaces = [workspace(cell, spare, part, n) for part in x_parts]
    h = side_by_side(partial(unrolled.forward, part, weights) for unrolled, part in zip(workspaces, x_parts))
    return workspaces, torch.cat(h)


def workspace(cell, spare, x, n):
    """An `Unrolled` that keeps everything: one of `spare` that fits, else a new one, and `spare` is let go."""
    for unrolled in list(spare):
        if unrolled.fits(x):
            with contextlib.suppress(ValueError):  # another thread has taken it
                spare.remove(unrolled)
                return unrolled
    spare.clear()
    return cell(x, n, keep=True)


def parts(cell, x, n):
    """The inputs `x` (batch, T, d), cut along the batch into a part for each thread of ours, or uncut.

    The sums of the parts' gradients round differently than one sum, so that bits depend on torch's number of threads.
    """
    threads = torch.get_num_threads()
    multiplications = len(cell.gates) * n * (n + x.shape[2] + 1) * len(x)
    if (threads == 1 or not SLEEPING or multiplications > SMALL or x.device.type != "cpu"
            or threading.current_thread() is not threading.main_thread()):
        return [x]
    return x.chunk(max(1, min(threads, len(x) // LEAST)))


def side_by_side(functions):
    """What each of the `functions` returns, a list: this thread calls the first, and helpers call the others."""
    first, *others = functions
    if not others:
        return [first()]
    mode = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad
    with few_threads(0):
        results = [HELPERS.submit(mode()(function)) for function in others]
        try:
            return [first(), *(result.result() for result in results)]
        finally:
            wait(results)


def one_thread():
    """Give this thread a single thread of OpenMP."""
    torch.get_num_threads()  # otherwise the first use takes over the number of the whole process
    torch.set_num_threads(1)


HELPERS = ThreadPoolExecutor(os.cpu_count(), "bptt", initializer=one_thread)


@contextlib.contextmanager
def few_threads(multiplications):
    """One thread for products of so many multiplications if they are few and threads sleep, else as many as before."""
    threads = torch.get_num_threads()
    if threads == 1 or not SLEEPING or multiplications > SMALL:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Unrolled:
    """A network unrolled in time, and all memory that it needs; a subclass adds a step of its cell and its derivative.

    Args:
        x: inputs, (batch, T, d), for their shape, type and device.
        n: number of hidden units.
        keep: keep every step for `backward`. Otherwise each step overwrites the last.

    `inputs[t]` is [h(t); x(t+1); 1], (n + d + 1, batch): `step(t)`, t from 0 to T - 1, reads it and goes on to t + 1.
    """

    gates = ""  # order in which they are stacked in W (len(gates) n, n + d + 1) and delta (len(gates) n, batch)
    tanh_gates = ""  # those with a tanh for nonlinearity, which come first
    kept = 0  # (n, batch) matrices kept for each step behind its inputs
    trace = None  # a list: `backward` appends dL/dh(t) and dL/dc(t), (batch, n), for t = T, …, 1

    def __init__(self, x, n, keep=False):
        batch, self.T, self.d = self.shape = x.shape
        self.n = n
        rows, width = len(self.gates) * n, n + self.d + 1
        self.W = x.new_zeros(rows, width)
        self.W_forward = x.new_empty(rows, width)  # W with the rows of tanh gates doubled and behind the others
        self.W_h_T, self.W_x_T = self.W.T[:n], self.W.T[n:-1]
        self.dW_T = x.new_empty(width, rows)  # transposed, as that product is the faster one
        self.W_blocks = self.blocks(self.W)
        self.working = x.new_empty(1 + len(self.gates), n, batch)
        self.scratch, self.delta = self.working[0], self.working[1:].flatten(0, 1)  # delta_* of one step
        self.delta_T = self.delta.T
        self.minus_one = x.new_tensor(-1)
        self.buffer = x.new_empty(self.T + 1 if keep else 1, width + self.kept * n, batch)
        self.buffer[0] = 0  # h(0) = c(0) = 0
        self.buffer[:, width - 1] = 1
        self.inputs, self.x = self.rows(0, width), self.rows(n, self.d)
        # What is multiplied in each step: W, inputs, and where the gradient goes. h(0) = 0 takes no part.
        self.factors = [(self.W_forward[:, n:], self.inputs[0][n:], self.dW_T[n:])]
        self.factors += [(self.W_forward, inputs, self.dW_T) for inputs in self.inputs[1:self.T]]

    def fits(self, x):
        return self.shape == x.shape and self.buffer.dtype == x.dtype and self.buffer.device == x.device

    def rows(self, start, count):
        """These rows of the buffer, a list of (count, batch) for t = 0, …, T: the same one if nothing is kept."""
        rows = self.buffer[:, start:start + count].unbind()
        return rows if len(rows) > 1 else rows * (self.T + 1)

    def kept_rows(self, k, count=1):
        """`rows` of the k-th kept matrix, or of `count` neighbours."""
        return self.rows(self.n + self.d + 1 + k * self.n, count * self.n)

    def blocks(self, W):
        """The blocks of a matrix stacked like W, as a dict of views by the names of the weights."""
        views = {}
        for gate, rows in zip(self.gates, W.split(self.n)):
            views[f"W_{gate}h"], views[f"W_{gate}x"], b = rows.split([self.n, self.d, 1], dim=1)
            views[f"b_{gate}"] = b.squeeze(1)
        return views

    def tanh_from_sigmoid(self, s, out):
        """tanh(a) = 2 s - 1 from s = sigmoid(2a)."""
        return torch.add(self.minus_one, s, alpha=2, out=out)

    def forward(self, x, weights):
        """h(T), (batch, n), from inputs x (batch, T, d) and a dict of weights; a W_*h that is not there counts as 0."""
        for name, weight in weights.items():
            self.W_blocks[name].copy_(weight)
        tanh_rows = len(self.tanh_gates) * self.n
        torch.cat([self.W[tanh_rows:], 2 * self.W[:tanh_rows]], out=self.W_forward)
        x = x.permute(1, 2, 0)
        with few_threads(self.W.numel() * self.delta.shape[1]):
            for t in range(self.T):
                self.x[t].copy_(x[t])
                self.step(t)
            return transposed(self.last_h())

    def backward(self, dh, dx_wanted=False):
        """Backpropagate dL/dh(T), (batch, n).

        Returns dL/dx, (batch, T, d), or None if it is not wanted, and a dict from the names of the weights to dL/dW_*
        and dL/db_*.
        """
        dh = transposed(dh)
        dc = torch.zeros_like(dh)
        dx = dh.new_empty(self.T, self.d, dh.shape[1]) if dx_wanted else None
        self.dW_T.zero_()
        with few_threads(self.W.numel() * dh.shape[1]):
            for t in reversed(range(self.T)):
                self.step_backward(t, dh, dc)
                if dx_wanted:
                    torch.mm(self.W_x_T, self.delta, out=dx[t])  # dx = sum_* W_*x^T delta_*
        dweights = {name: block.clone(memory_format=torch.contiguous_format)
                    for name, block in self.blocks(self.dW_T.T.contiguous()).items()}
        return dx.permute(2, 0, 1) if dx_wanted else None, dweights

    def note(self, *gradients):
        """Append the gradients of one step to the trace, if there is one."""
        if self.trace is not None:
            self.trace.append([transposed(gradient) for gradient in gradients])


def transposed(matrix):
    """The transpose, copied."""
    return matrix.T.clone(memory_format=torch.contiguous_format)


class UnrolledRNN(Unrolled):
    """The vanilla RNN: only its inputs [h; x; 1] are kept."""

    gates = tanh_gates = "h"

    def __init__(self, x, n, keep=False):
        super().__init__(x, n, keep)
        self.h = self.rows(0, n)

    def step(self, t):
        W, inputs, _ = self.factors[t]
        torch.mm(W, inputs, out=self.scratch).sigmoid_()
        self.tanh_from_sigmoid(self.scratch, out=self.h[t + 1])  # (1)

    def last_h(self):
        return self.h[self.T]

    def step_backward(self, t, dh, dc):
        self.note(dh)
        tanh_backward(dh, self.h[t + 1], grad_input=self.delta)  # delta = dh * (1 - h^2)
        _, inputs, dW_T = self.factors[t]
        dW_T.addmm_(inputs, self.delta_T)  # dW += delta [h(t-1); x; 1]^T
        if t:
            torch.mm(self.W_h_T, self.delta, out=dh)  # dh(t-1) = W_hh^T delta


class UnrolledLSTM(Unrolled):
    """The LSTM: its inputs [h; x; 1], gates, tanh(c) and c are kept.

    Those that are multiplied by the same matrix lie at equal distances in memory, so that one call multiplies them; for
    that there is a gap between tanh(c) and c.
    """

    gates, tanh_gates = "gifo", "g"
    kept = 7

    def __init__(self, x, n, keep=False):
        super().__init__(x, n, keep)
        self.h = self.rows(0, n)
        self.i, self.f, self.o, self.g, self.tanh_c, _, self.c = map(self.kept_rows, range(7))
        self.ifog, self.ifo = self.kept_rows(0, 4), self.kept_rows(0, 3)
        if keep:
            kept = [rows.unflatten(0, (7, n)) for rows in self.kept_rows(0, 7)]
            self.igc, self.o_and_tanh_c = [blocks[::3] for blocks in kept], [blocks[2:5:2] for blocks in kept]
        self.delta_g, self.delta_ifo, self.delta_gif = self.delta[:n], self.delta[n:], self.working[1:4]
        self.scratch_and_delta_o = self.working[::4]

    def step(self, t):
        g, c, tanh_c = self.g[t], self.c[t + 1], self.tanh_c[t]
        W, inputs, _ = self.factors[t]
        torch.mm(W, inputs, out=self.ifog[t]).sigmoid_()  # (5) to (7), and
        self.tanh_from_sigmoid(g, out=g)  # (4)
        torch.mul(self.c[t], self.f[t], out=c).addcmul_(g, self.i[t])  # (8)
        torch.add(c, c, out=self.scratch).sigmoid_()
        self.tanh_from_sigmoid(self.scratch, out=tanh_c)
        torch.mul(tanh_c, self.o[t], out=self.h[t + 1])  # (9)

    def last_h(self):
        return self.h[self.T]

    def step_backward(self, t, dh, dc):
        scratch, delta_g, delta_ifo = self.scratch, self.delta_g, self.delta_ifo
        torch.mul(dh, self.o_and_tanh_c[t], out=self.scratch_and_delta_o)  # do = dh * tanh(c), and
        dc.add_(tanh_backward(scratch, self.tanh_c[t], grad_input=scratch))  # dc += dh * o * (1 - tanh(c)^2)
        self.note(dh, dc)
        torch.mul(dc, self.igc[t], out=self.delta_gif)  # dg = dc * i, di = dc * g, df = dc * c(t-1)
        tanh_backward(delta_g, self.g[t], grad_input=delta_g)  # delta_g = dg * (1 - g^2)
        sigmoid_backward(delta_ifo, self.ifo[t], grad_input=delta_ifo)  # delta_i = di * i * (1 - i), f and o likewise
        _, inputs, dW_T = self.factors[t]
        dW_T.addmm_(inputs, self.delta_T)  # dW += delta [h(t-1); x; 1]^T
        if t:
            torch.mm(self.W_h_T, self.delta, out=dh)  # dh(t-1) = sum_* W_*h^T delta_*
            dc.mul_(self.f[t])  # dc(t-1) = dc * f + what comes through h(t-1)


class UnrolledPeepLSTM(Unrolled):
    """The peephole LSTM: its inputs [c; x; 1], its candidate and its gates f and i are kept.

    As h(t) feeds nothing, o(t) and h(t) are computed for the last step only, and delta_o(t) is zero before it.
    """

    gates = "cfio"
    kept = 3

    def __init__(self, x, n, keep=False):
        super().__init__(x, n, keep)
        self.c, self.x1 = self.rows(0, n), self.rows(n, self.d + 1)
        self.candidate, self.f, self.i = map(self.kept_rows, range(3))
        self.fi, self.cfi = self.kept_rows(1, 2), self.kept_rows(0, 3)
        W_c, self.W_fi, self.W_o = self.W.split([n, 2 * n, n])
        self.W_cx1 = W_c[:, n:]
        self.delta_c, self.delta_f, self.delta_i, self.delta_o = self.delta.split(n)
        self.delta_cfi, self.delta_c_T = self.delta[:3 * n], self.delta_T[:, :n]
        self.dW_c_T = self.dW_T[n:, :n]
        # What the recurrent gates need: f and i in every step, o too in the last one.
        self.recurrent, self.last_recurrent = (
            (self.W_h_T[:, rows], self.delta[rows], self.delta_T[:, rows], self.dW_T[:, rows])
            for rows in (slice(n, 3 * n), slice(n, 4 * n)))

    def step(self, t):
        torch.mm(self.W_fi, self.inputs[t], out=self.fi[t])
        torch.mm(self.W_cx1, self.x1[t], out=self.candidate[t])
        self.cfi[t].sigmoid_()
        if t == self.T - 1:
            self.o = torch.mm(self.W_o, self.inputs[t]).sigmoid_()
        torch.mul(self.c[t], self.f[t], out=self.c[t + 1]).addcmul_(self.candidate[t], self.i[t])

    def last_h(self):
        self.tanh_c = torch.tanh(self.c[self.T])
        return self.tanh_c * self.o

    def step_backward(self, t, dh, dc):
        if t == self.T - 1:
            W_h_T, delta, delta_T, dW_T = self.last_recurrent
            torch.mul(dh, self.tanh_c, out=self.delta_o)  # do = dh * tanh(c)
            sigmoid_backward(self.delta_o, self.o, grad_input=self.delta_o)  # delta_o = do * o * (1 - o)
            dc.add_(dh * self.o * (1 - self.tanh_c ** 2))  # dc = dh * o * (1 - tanh(c)^2)
        else:
            W_h_T, delta, delta_T, dW_T = self.recurrent
            dh.zero_()
            self.delta_o.zero_()
        self.note(dh, dc)
        torch.mul(dc, self.i[t], out=self.delta_c)  # with s for the candidate: ds = dc * i
        torch.mul(dc, self.candidate[t], out=self.delta_i)  # di = dc * s
        torch.mul(dc, self.c[t], out=self.delta_f)  # df = dc * c(t-1)
        sigmoid_backward(self.delta_cfi, self.cfi[t], grad_input=self.delta_cfi)  # delta_f = df * f * (1 - f) …
        self.dW_c_T.addmm_(self.x1[t], self.delta_c_T)  # dW_c += delta_c [x; 1]^T
        dW_T.addmm_(self.inputs[t], delta_T)  # dW += delta [c(t-1); x; 1]^T
        dc.mul_(self.f[t]).addmm_(W_h_T, delta)  # dc(t-1) = dc * f + sum_* W_*h^T delta_*
