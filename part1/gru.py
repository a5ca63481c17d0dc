"""The gated recurrent unit that other groups of the 2020 edition built beside the LSTM (equations 29 to 33)."""
import torch

from part1.recurrent import RecurrentNetwork


class GRU(RecurrentNetwork):
    """The gated recurrent unit: h itself is the memory, and z(t) says how much of it is written anew.

    Parameters W_*x, W_*h, b_* for * in z, r, h, then W_ph, b_p: 3(nd + n² + n) in the cell; the assignment writes no
    biases, and ours start at zero. For the arguments see `RecurrentNetwork`. The idea: Cho et al., EMNLP 2014.
    `torch.nn.GRU` is another: it applies r(t) after the product with W_hh, and its z(t) is our 1 - z(t).
    """

    gates = "zrh"
    recurrent = "zrh"

    def step(self, x, h):
        z = torch.sigmoid(x @ self.W_zx.T + h @ self.W_zh.T + self.b_z)  # (29)
        r = torch.sigmoid(x @ self.W_rx.T + h @ self.W_rh.T + self.b_r)  # (30)
        candidate = torch.tanh(x @ self.W_hx.T + (r * h) @ self.W_hh.T + self.b_h)  # (31)
        h = (1 - z) * h + z * candidate  # (32)
        return (h,)
