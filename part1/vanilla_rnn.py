"""The vanilla RNN (Question 1.2 of 2019), written as equations 1 and 2 of the assignment."""
import torch

from part1 import bptt
from part1.recurrent import RecurrentNetwork


class VanillaRNN(RecurrentNetwork):
    """The vanilla recurrent network: all it knows passes through one tanh per step, so gradients fade.

    Parameters W_hx, W_hh, b_h, W_ph, b_p; for the arguments see `RecurrentNetwork`.
    """

    gates = "h"
    recurrent = "h"
    fast = bptt.RNN

    def step(self, x, h):
        h = torch.tanh(x @ self.W_hx.T + h @ self.W_hh.T + self.b_h)  # (1)
        return (h,)

    def latch(self):
        """W_hh = a I with a = 16: each unit falls to the side that its first input is on, and stays there.

        A unit is h(t) = tanh(a h(t-1) + u(t)) with u = W_hx x + b_h, and for a > 1 it has two stable states. As
        |u| grows, one of them meets the unstable state between them and is lost, where the slope a (1 - h^2) is 1, at
        h* = sqrt(1 - 1/a). So a latched unit flips only for |u| > a h* - artanh h*, which is 13.4; with 128 units u is
        below 0.25 for one-hot digits and below 2 for raw ones. The first input outweighs the second by about a to 1.
        The gradient through a latched unit vanishes, by a (1 - h^2) per step, for the same reason (Bengio, Simard &
        Frasconi, IEEE Transactions on Neural Networks 1994). That the weights start so is our own.
        """
        self.W_hh.copy_(16 * torch.eye(self.num_hidden))
        self.spread_thresholds(self.W_hx, self.b_h)
