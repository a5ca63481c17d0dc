"""The LSTM (Question 1.6 of 2019, 1.3 of 2020), written as equations 4 to 10 of the assignment."""
import torch

from part1 import bptt
from part1.recurrent import RecurrentNetwork


class LSTM(RecurrentNetwork):
    """The long short-term memory: c(t) carries what is remembered past the nonlinearities, the gates decide what.

    Parameters W_*x, W_*h, b_* for * in g, i, f, o, then W_ph, b_p: 4(nd + n² + n) in the cell. For the arguments see
    `RecurrentNetwork`. Without a positive forget bias it forgets half of c at every step (`initialize`).
    """

    gates = "gifo"
    recurrent = "gifo"
    state_names = ("h", "c")
    carried = "hc"
    fast = bptt.LSTM

    def step(self, x, h, c):
        g = torch.tanh(x @ self.W_gx.T + h @ self.W_gh.T + self.b_g)  # (4)
        i = torch.sigmoid(x @ self.W_ix.T + h @ self.W_ih.T + self.b_i)  # (5)
        f = torch.sigmoid(x @ self.W_fx.T + h @ self.W_fh.T + self.b_f)  # (6)
        o = torch.sigmoid(x @ self.W_ox.T + h @ self.W_oh.T + self.b_o)  # (7)
        c = g * i + c * f  # (8)
        h = torch.tanh(c) * o  # (9)
        return h, c

    def latch(self):
        """W_gh = a I with a = 64: the candidate pulls each memory to the side that its first input is on.

        The gates i, f and o have no weights, so they are 1/2. Then h is tanh(c) / 2, and a memory is
        c(t) = (c(t-1) + tanh(a tanh(c(t-1)) / 2 + u(t))) / 2 with u = W_gx x + b_g, which is bistable for a > 2. One of
        its stable states is lost where (1 - c^2) (1 - tanh(c)^2) = 2/a, at c* = 0.96, so that a latched memory flips
        only for |u| > a tanh(c*) / 2 - artanh(c*), which is 21.9; u is as in the RNN. The first input outweighs the
        second by a/4 to 1. Our own, after the latches of Bengio, Simard & Frasconi (IEEE Transactions on Neural
        Networks 1994).
        """
        for gate in "ifo":
            getattr(self, f"W_{gate}x").zero_()
            getattr(self, f"W_{gate}h").zero_()
        self.W_gh.copy_(64 * torch.eye(self.num_hidden))
        self.spread_thresholds(self.W_gx, self.b_g)
