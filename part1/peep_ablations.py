"""The peephole LSTM with one of its three differences from the LSTM undone: which of them slows it (Q1.4 of 2020)?"""
import torch

from part1.peep_lstm import PeepLSTM


class TanhPeepLSTM(PeepLSTM):
    """Its candidate is a tanh, and so has both signs."""

    fast = latch = None

    def step(self, x, h, c):
        f = torch.sigmoid(x @ self.W_fx.T + c @ self.W_fh.T + self.b_f)
        i = torch.sigmoid(x @ self.W_ix.T + c @ self.W_ih.T + self.b_i)
        o = torch.sigmoid(x @ self.W_ox.T + c @ self.W_oh.T + self.b_o)
        c = torch.tanh(x @ self.W_cx.T + self.b_c) * i + c * f
        h = torch.tanh(c) * o
        return h, c


class RecurrentPeepLSTM(PeepLSTM):
    """Its candidate sees h(t-1), by a matrix W_ch."""

    carried = "ch"
    recurrent = "fioc"
    fast = latch = None

    def step(self, x, h, c):
        f = torch.sigmoid(x @ self.W_fx.T + c @ self.W_fh.T + self.b_f)
        i = torch.sigmoid(x @ self.W_ix.T + c @ self.W_ih.T + self.b_i)
        o = torch.sigmoid(x @ self.W_ox.T + c @ self.W_oh.T + self.b_o)
        c = torch.sigmoid(x @ self.W_cx.T + h @ self.W_ch.T + self.b_c) * i + c * f
        h = torch.tanh(c) * o
        return h, c


class OutputPeepLSTM(PeepLSTM):
    """Its gates see h(t-1) instead of c(t-1)."""

    carried = "hc"
    fast = latch = None

    def step(self, x, h, c):
        f = torch.sigmoid(x @ self.W_fx.T + h @ self.W_fh.T + self.b_f)
        i = torch.sigmoid(x @ self.W_ix.T + h @ self.W_ih.T + self.b_i)
        o = torch.sigmoid(x @ self.W_ox.T + h @ self.W_oh.T + self.b_o)
        c = torch.sigmoid(x @ self.W_cx.T + self.b_c) * i + c * f
        h = torch.tanh(c) * o
        return h, c
