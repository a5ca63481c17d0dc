"""The peephole LSTM (Question 1.4 of 2020): its gates look at the cell state c(t-1) instead of h(t-1)."""
import torch

from part1 import bptt
from part1.recurrent import RecurrentNetwork


class PeepLSTM(RecurrentNetwork):
    """The LSTM with peephole connections of the 2020 edition: only c recurs, h(t) is nothing but an output.

    Parameters W_*x, W_*h, b_* for * in f, i, o, then W_cx, b_c, W_ph, b_p: 4nd + 3n² + 4n in the cell. For the
    arguments see `RecurrentNetwork`. The idea of peepholes: Gers & Schmidhuber, IJCNN 2000.
    """

    gates = "fioc"
    recurrent = "fio"
    state_names = ("h", "c")
    carried = "c"
    fast = bptt.PeepLSTM

    def step(self, x, h, c):
        f = torch.sigmoid(x @ self.W_fx.T + c @ self.W_fh.T + self.b_f)
        i = torch.sigmoid(x @ self.W_ix.T + c @ self.W_ih.T + self.b_i)
        o = torch.sigmoid(x @ self.W_ox.T + c @ self.W_oh.T + self.b_o)
        c = torch.sigmoid(x @ self.W_cx.T + self.b_c) * i + c * f
        h = torch.tanh(c) * o
        return h, c

    def latch(self):
        """A memory that closes its own door: what the first input leaves in c shuts all input gates.

        c is never negative, and W_ih has the same entry -100/n everywhere, so that the gates i(t) see W_ix x - 100
        times the mean of c. At the first step c is zero and the gates are open or shut as W_ix ~ N(0, 2^2) has it; then
        the mean is about 1/4 and i about e^-25. The forget gates, f = sigmoid(14) whatever comes, lose 8e-7 of c per
        step. Our own.
        """
        self.W_ix.normal_(0, 2)
        self.spread_thresholds(self.W_ix, self.b_i)
        self.W_ih.fill_(-100 / self.num_hidden)
        self.W_fx.zero_()
        self.W_fh.zero_()
        self.b_f.fill_(14)
