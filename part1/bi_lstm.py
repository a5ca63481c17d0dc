"""The bidirectional LSTM that other groups of the 2020 edition built beside the LSTM (equations 14 to 28)."""
from types import SimpleNamespace

import torch

from part1 import bptt
from part1.lstm import LSTM
from part1.recurrent import RecurrentNetwork


class BiLSTM(RecurrentNetwork):
    """Two LSTMs, of which the second reads from the end; the output is linear in [h_forward(T); h_backward(1)].

    Parameters of the LSTM, each twice: W_gx_forward … b_o_forward, W_gx_backward … b_o_backward, then W_ph, which is
    (num_classes, 2 num_hidden), and b_p. For the arguments see `RecurrentNetwork`. The idea: Schuster & Paliwal, IEEE
    Transactions on Signal Processing 1997.

    Its state at t is that after t inputs: h is [h_forward(t); h_backward(T + 1 - t)], (batch, 2 num_hidden), and so is
    c. At the last step each direction has read the whole sequence.
    """

    gates, recurrent, fast = LSTM.gates, LSTM.recurrent, LSTM.fast
    state_names, carried = LSTM.state_names, LSTM.carried
    directions = ("_forward", "_backward")

    def encode(self, x):
        """Inputs [x(t); x(T + 1 - t)], (batch, seq_length, 2 input_dim), of x as `forward` takes it."""
        x = super().encode(x)
        return torch.cat([x, x.flip(1)], dim=2)

    def step(self, x, h, c):
        """Both directions as one LSTM: its biases are those of both, its matrices block-diagonal.

        So h is computed from the very c that is returned, which dL/dc(t) along every path needs.
        """
        cells = [self.cell(direction) for direction in self.directions]
        return LSTM.step(SimpleNamespace(**{
            name: torch.cat([cell[name] for cell in cells]) if name.startswith("b_")
            else torch.block_diag(*(cell[name] for cell in cells)) for name in self.cell_names}), x, h, c)

    def last_hidden(self, x):
        x = super().encode(x)
        return torch.cat([bptt.last_hidden(self.fast, inputs, self.cell(direction))
                          for direction, inputs in zip(self.directions, (x, x.flip(1)))], dim=1)
