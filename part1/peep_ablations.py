"""The peephole LSTM with one of its three differences from the LSTM undone: which of them slows it (Q1.4 of 2020)?"""
import torch

from part1.peep_lstm import PeepLSTM


class Ablation(PeepLSTM):
    """The peephole LSTM, with its three differences from the LSTM as class attributes; all undone, it is the LSTM."""

    candidate = staticmethod(torch.sigmoid)
    carried = "c"  # what the gates see comes first
    recurrent = "fio"  # with "c" among them, the candidate sees h(t-1) by a matrix W_ch
    fast = latch = None

    def step(self, x, h, c):
        seen = {"h": h, "c": c}[self.carried[0]]
        f = torch.sigmoid(x @ self.W_fx.T + seen @ self.W_fh.T + self.b_f)
        i = torch.sigmoid(x @ self.W_ix.T + seen @ self.W_ih.T + self.b_i)
        o = torch.sigmoid(x @ self.W_ox.T + seen @ self.W_oh.T + self.b_o)
        a = x @ self.W_cx.T + self.b_c
        if "c" in self.recurrent:
            a = a + h @ self.W_ch.T
        c = self.candidate(a) * i + c * f
        h = torch.tanh(c) * o
        return h, c


class TanhPeepLSTM(Ablation):
    """Its candidate is a tanh, and so has both signs."""

    candidate = staticmethod(torch.tanh)


class RecurrentPeepLSTM(Ablation):
    """Its candidate sees h(t-1)."""

    carried = "ch"
    recurrent = "fioc"


class OutputPeepLSTM(Ablation):
    """Its gates see h(t-1) instead of c(t-1)."""

    carried = "hc"
