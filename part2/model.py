"""The network that writes: a two-layer LSTM over characters with a linear output at every step (Question 2.1)."""
import contextlib

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import dropout, one_hot


class TextGenerationModel(nn.Module):
    """An `nn.LSTM` on one-hot characters, and logits for the next character at every step.

    Args:
        batch_size, seq_length: the course's signature; any batch size and length are accepted.
        vocabulary_size: number of characters, K.
        lstm_num_hidden: units of each of `lstm_num_layers` layers.
        dropout_keep_prob: share of a layer's outputs that training keeps (1: no dropout).
        recurrent_keep_prob: share of the recurrent weights that training keeps, the same ones at all steps:
            weight drop (Merity, Keskar & Socher, 2018).
    """

    def __init__(self, batch_size, seq_length, vocabulary_size, lstm_num_hidden=256, lstm_num_layers=2, device="cpu",
                 dropout_keep_prob=1.0, recurrent_keep_prob=1.0):
        super().__init__()
        drop = 1 - dropout_keep_prob
        self.vocabulary_size, self.recurrent_drop = vocabulary_size, 1 - recurrent_keep_prob
        self.lstm = nn.LSTM(vocabulary_size, lstm_num_hidden, lstm_num_layers, batch_first=True,
                            dropout=drop if lstm_num_layers > 1 else 0.0)  # between layers alone
        self.dropout = nn.Dropout(drop)
        self.linear = nn.Linear(lstm_num_hidden, vocabulary_size)
        self.to(device)

    def forward(self, x, state=None):
        """Read characters x, int64 (batch, T), on from `state` (None: zeros).

        Returns the logits (batch, T, vocabulary_size) and the new state, a pair (h, c) of (layers, batch, hidden) each.
        """
        x = one_hot(x, self.vocabulary_size).to(self.linear.weight.dtype)
        if self.training and self.recurrent_drop:
            weights = {name: dropout(weight, self.recurrent_drop) for name, weight in self.lstm.named_parameters()
                       if name.startswith("weight_hh")}
            h, state = functional_call(self.lstm, weights, (x, state))
        else:
            h, state = self.lstm(x, state)
        return self.linear(self.dropout(h)), state


@contextlib.contextmanager
def evaluating(model):
    """Put `model` in evaluation mode, and afterwards back in the mode in which it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def make_model(config, vocabulary_size, device="cpu"):
    """The network that the flags of a training run describe, its weights drawn from torch's global generator."""
    return TextGenerationModel(config.batch_size, config.seq_length, vocabulary_size, config.lstm_num_hidden,
                               config.lstm_num_layers, device, config.dropout_keep_prob, config.recurrent_keep_prob)


def bf16_kernels(device):
    """Whether torch's fast LSTM takes bf16 on `device`: on a CPU without such units, oneDNN has none and raises."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            nn.LSTM(1, 1).to(device)(torch.zeros(1, 1, 1, device=device))
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def autocast(device, precision, kernels=True):
    """Forward passes in "fp32", or in "bf16" by autocast; `kernels=False` does without oneDNN."""
    onednn = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = onednn and kernels
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.backends.mkldnn.enabled = onednn
