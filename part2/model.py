"""The network that writes: a two-layer LSTM over characters with a linear output at every step (Question 2.1)."""
import torch
from torch import nn
from torch.nn.functional import one_hot

from part1 import cli, run
from part2.dataset import Vocabulary

SCRIPT = "part2.train_text"  # the script whose checkpoints hold this network


class TextGenerationModel(nn.Module):
    """An `nn.LSTM` on one-hot characters, and logits for the next character at every step.

    Args:
        batch_size, seq_length: the course's signature; any batch size and length are accepted.
        vocabulary_size: number of characters, K.
        lstm_num_hidden: units of each layer.
        lstm_num_layers: layers.
        device: where the parameters live.
        dropout_keep_prob: share of a layer's outputs that training keeps (1: no dropout).
    """

    def __init__(self, batch_size, seq_length, vocabulary_size, lstm_num_hidden=256, lstm_num_layers=2, device="cpu",
                 dropout_keep_prob=1.0):
        super().__init__()
        drop = 1 - dropout_keep_prob
        self.vocabulary_size = vocabulary_size
        self.lstm = nn.LSTM(vocabulary_size, lstm_num_hidden, lstm_num_layers, batch_first=True,
                            dropout=drop if lstm_num_layers > 1 else 0.0)
        self.dropout = nn.Dropout(drop)
        self.linear = nn.Linear(lstm_num_hidden, vocabulary_size)
        self.to(device)

    def forward(self, x, state=None):
        """Read characters x, int64 (batch, T), on from `state` (None: zeros).

        Returns the logits (batch, T, vocabulary_size) and the new state, a pair (h, c) of (layers, batch, hidden) each.
        """
        h, state = self.lstm(one_hot(x, self.vocabulary_size).to(self.linear.weight.dtype), state)
        return self.linear(self.dropout(h)), state


class Stepper:
    """The network one character at a time, equations (4) to (10) by hand, in about 0.6 of `nn.LSTM`'s time on one core.

    A step of `nn.LSTM` spends its time on preparing the weights. Here a layer is one product, samples are the columns
    of every matrix, so that a gate is one piece of memory, and what a step computes overwrites what the last one did.
    For evaluation: no dropout, no gradients.

    Args:
        model: a `TextGenerationModel`; its weights are taken as they are now.
        state: where to go on, a pair (h, c) of (layers, batch, hidden) each, as `model` returns it.
    """

    @torch.inference_mode()
    def __init__(self, model, state):
        self.model = model
        self.layers = []
        for (W_x, W_h, b_x, b_h), h, c in zip(model.lstm.all_weights, *state):
            x_h = torch.cat([h.new_zeros(W_x.shape[1], len(h)), h.T])  # a layer's input above its own last output
            self.layers.append((torch.cat([W_x, W_h], dim=1), (b_x + b_h).unsqueeze(1), x_h, c.T.clone().contiguous()))
        self.gates = x_h.new_empty(len(b_h), x_h.shape[1])

    @torch.inference_mode()
    def step(self, x):
        """Read one more character each, int64 (batch,); returns the logits of the next, (batch, vocabulary_size)."""
        h = one_hot(x, self.model.vocabulary_size).T
        for W, b, x_h, c in self.layers:
            x_h[:len(h)] = h
            i, f, g, o = torch.addmm(b, W, x_h, out=self.gates).chunk(4)  # the order of nn.LSTM
            for gate in (i, f, o):
                gate.sigmoid_()
            g.tanh_()
            c.mul_(f).addcmul_(g, i)
            h = c.tanh().mul_(o)
            x_h[-len(h):] = h
        return self.model.linear(h.T)


def make_model(config, vocabulary_size, device):
    """The network that the flags `config` of `part2.train_text` describe, drawn from torch's CPU generator."""
    return TextGenerationModel(config.batch_size, config.seq_length, vocabulary_size, config.lstm_num_hidden,
                               config.lstm_num_layers, device, config.dropout_keep_prob)


def load(path, device="cpu"):
    """The trained network (in evaluation mode) and its `Vocabulary` from a checkpoint of `part2.train_text`.

    Raises `ValueError` for any other file.
    """
    checkpoint = run.load_checkpoint(path, SCRIPT)
    try:
        vocabulary = Vocabulary(checkpoint["extra"]["vocabulary"])
        model = make_model(run.settings_of(checkpoint), vocabulary.vocab_size, device)
        model.load_state_dict(checkpoint["parts"]["model"])
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} does not hold a text model: {cli.one_line(error)[:120]}") from None
    return model.eval(), vocabulary
