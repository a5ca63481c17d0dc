"""The vanilla RNN (Question 1.2 of 2019), written as equations 1 and 2 of the assignment."""
import torch

from part1 import bptt
from part1.recurrent import RecurrentNetwork


class VanillaRNN(RecurrentNetwork):
    """The vanilla recurrent network: all it knows passes through one tanh per step, so its memory fades.

    Parameters W_hx, W_hh, b_h, W_ph, b_p; for the arguments see `RecurrentNetwork`.
    """

    gates = "h"
    recurrent = "h"
    fast = bptt.RNN

    def step(self, x, h):
        h = torch.tanh(x @ self.W_hx.T + h @ self.W_hh.T + self.b_h)  # (1)
        return (h,)
