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
    state = ("h", "c")
    fast = bptt.LSTM

    def step(self, x, h, c):
        g = torch.tanh(x @ self.W_gx.T + h @ self.W_gh.T + self.b_g)  # (4)
        i = torch.sigmoid(x @ self.W_ix.T + h @ self.W_ih.T + self.b_i)  # (5)
        f = torch.sigmoid(x @ self.W_fx.T + h @ self.W_fh.T + self.b_f)  # (6)
        o = torch.sigmoid(x @ self.W_ox.T + h @ self.W_oh.T + self.b_o)  # (7)
        c = g * i + c * f  # (8)
        h = torch.tanh(c) * o  # (9)
        return h, c
