"""What the networks of Part 1 have in common: parameters by the equations' names, initial weights, input, output.

A network subclasses `RecurrentNetwork`, says which gates it has, and writes its equations in `step(x, *state)`: from
x(t), (batch, input_dim), and the state at t-1, each (batch, num_hidden), to the state at t, of which h comes first.
That is its definition; `part1.bptt` computes the same faster, with derivatives by hand. Nothing here or there is a
`torch.nn` layer or cell: only `nn.Parameter` and elementary tensor operations.
"""
import torch
from torch import nn

from part1 import bptt
from part1.cli import InputError

INITS = ("xavier", "kaiming", "orthogonal", "latch")


class RecurrentNetwork(nn.Module):
    """A recurrent cell unrolled over a sequence of digits, with a linear output p(T) after the last one.

    Args:
        seq_length: number of inputs, T in h(T); for palindromes, length - 1.
        input_dim: d; 1 feeds the digit itself, more than 1 its one-hot vector of that width.
        num_hidden: n, units of the hidden state.
        num_classes: width of the output.
        device: where the parameters live.

    Raises `InputError` for sizes below 1. Matrices start as Xavier and biases at zero; see `initialize`.
    """

    gates = ""  # the letters * of W_*x (num_hidden, input_dim) and b_* (num_hidden,), in the order of the parameters
    recurrent = ""  # those among them with a W_*h (num_hidden, num_hidden)
    state_names = ("h",)  # of what `step` passes on, h first
    carried = "h"  # those that the next step reads; its gates read the first of them
    directions = ("",)  # suffixes of the parameters' names, one for each direction of reading
    fast = None  # the class in `part1.bptt` with the same equations; without one autograd differentiates `step`
    latch = None  # a method that sets the weights so that the first input decides the state for good
    backward_pass = "bptt"  # "autograd" runs `step` in any case

    def __init__(self, seq_length, input_dim, num_hidden, num_classes, device="cpu"):
        super().__init__()
        self.seq_length, self.input_dim, self.num_hidden = seq_length, input_dim, num_hidden
        for name, size in dict(seq_length=seq_length, input_dim=input_dim, num_hidden=num_hidden,
                               num_classes=num_classes).items():
            if size < 1:
                raise InputError(f"{name} must be at least 1, not {size}")
        cell = {}
        for gate in self.gates:
            cell[f"W_{gate}x"] = (num_hidden, input_dim)
            if gate in self.recurrent:
                cell[f"W_{gate}h"] = (num_hidden, num_hidden)
            cell[f"b_{gate}"] = (num_hidden,)
        shapes = {name + direction: shape for direction in self.directions for name, shape in cell.items()}
        shapes |= {"W_ph": (num_classes, len(self.directions) * num_hidden), "b_p": (num_classes,)}
        self.cell_names = list(cell)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device)))
        self.initialize()

    @torch.no_grad()
    def initialize(self, scheme="xavier", forget_bias=None):
        """Draw all parameters anew, each gate's matrix by itself, from torch's global generator.

        This decides more than the architecture: with Xavier weights and zero biases an LSTM remembers no better than
        the vanilla RNN, with chrono biases it remembers hundreds of steps, and with "latch" both remember thousands.

        Args:
            scheme: "xavier" (uniform; Glorot & Bengio, AISTATS 2010), "kaiming" (normal, standard deviation
                1/sqrt(fan_in); He et al., ICCV 2015, for a gain of 1), "orthogonal" (recurrent matrices W_*h
                orthogonal, Saxe et al., ICLR 2014, the others Xavier) or "latch" (Xavier but for what the network's
                method `latch` sets, if it has one: its first input decides its state for good).
            forget_bias: None leaves all biases zero; a number is b_f; "chrono" draws b_f = log U(1, seq_length) and
                sets b_i = -b_f (Tallec & Ollivier, ICLR 2018).

        Raises `InputError` as `check_init` does.
        """
        self.check_init(scheme, forget_bias)
        for name, parameter in self.named_parameters():
            if name.startswith("b_"):
                parameter.zero_()
            elif scheme == "kaiming":
                nn.init.kaiming_normal_(parameter, nonlinearity="linear")
            elif scheme == "orthogonal" and name in self.recurrent_matrices():
                nn.init.orthogonal_(parameter)
            else:
                nn.init.xavier_uniform_(parameter)
        if forget_bias is not None:
            for cell in map(self.cell, self.directions):
                if forget_bias == "chrono":
                    cell["b_f"].uniform_(1, max(1, self.seq_length)).log_()
                    cell["b_i"].copy_(-cell["b_f"])
                else:
                    cell["b_f"].fill_(forget_bias)
        if scheme == "latch":
            self.latch()

    def cell(self, direction=""):
        """All parameters but W_ph and b_p by the equations' names, a dict."""
        return {name: self.get_parameter(name + direction) for name in self.cell_names}

    def recurrent_matrices(self):
        """The names of all W_*h."""
        return [f"W_{gate}h{direction}" for direction in self.directions for gate in self.recurrent]

    @classmethod
    def check_init(cls, scheme, forget_bias):
        """Raise `InputError` for an unknown scheme, a latch of a network that has none, and for a `forget_bias` without
        a forget gate or beside "latch"."""
        if scheme not in INITS:
            raise InputError(f"the initialization is one of {', '.join(INITS)}, not {scheme!r}")
        if scheme == "latch" and cls.latch is None:
            raise InputError(f"--init latch: there is none for {cls.__name__}")
        if forget_bias is not None and "f" not in cls.gates:
            raise InputError(f"--forget_bias: {cls.__name__} has no forget gate")
        if forget_bias is not None and scheme == "latch":
            raise InputError("--init latch sets all biases: leave out --forget_bias")

    def spread_thresholds(self, W, b):
        """For raw digits set b so that W x + b = W (x - theta), theta uniform on 0–9: a thermometer code."""
        if self.input_dim == 1:
            b.copy_(-W[:, 0] * torch.empty_like(b).uniform_(0, 9))

    def forward(self, x):
        """Logits p(T) of the last step, (batch, num_classes).

        `x` holds digits, (batch, seq_length) or (batch, seq_length, 1); with input_dim > 1 also vectors as they are,
        float (batch, seq_length, input_dim). Raises `InputError` for other shapes, and for digits outside
        0 … input_dim - 1 where they become one-hot.
        """
        if self.fast and self.backward_pass == "bptt" and not x.requires_grad:
            return self.output(self.last_hidden(x))
        for h, *_ in self.states(x):
            pass
        return self.output(h)

    def last_hidden(self, x):
        """h(T), (batch, num_hidden), by `part1.bptt`."""
        return bptt.last_hidden(self.fast, self.encode(x), self.cell())

    def states(self, x):
        """Yield the state after each step, a tuple as `state_names` says, of tensors (batch, width of W_ph)."""
        x = self.encode(x)
        state = [x.new_zeros(len(x), self.W_ph.shape[1]) for _ in self.state_names]
        for x_t in x.unbind(dim=1):
            state = self.step(x_t, *state)
            yield state

    def output(self, h):
        """Logits, (batch, num_classes), of a hidden state (batch, num_hidden)."""
        return h @ self.W_ph.T + self.b_p  # (2), (10)

    def encode(self, x):
        """Digits or vectors, shaped as `forward` takes them, to inputs (batch, seq_length, input_dim)."""
        shape = tuple(x.shape)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, self.input_dim)):
            widths = " or ".join(f"(batch, {self.seq_length}, {width})" for width in dict.fromkeys((1, self.input_dim)))
            raise InputError(f"inputs are (batch, {self.seq_length}) or {widths}, not {shape}")
        if shape[1] != self.seq_length:
            raise InputError(f"this network reads {self.seq_length} inputs, not {shape[1]}")
        dtype = self.W_ph.dtype
        if len(shape) == 3 and shape[2] == self.input_dim:
            return x.to(dtype)
        if self.input_dim == 1:
            return x.unsqueeze(2).to(dtype)
        # With the batch in the last dimension, as part1.bptt wants it, and so several times faster.
        digits = x.reshape(shape[:2]).T.contiguous().unsqueeze(1)
        one_hot = digits == torch.arange(self.input_dim, device=x.device).unsqueeze(1)
        if not one_hot.any(dim=1).all():
            raise InputError(f"a digit is none of 0 … {self.input_dim - 1}, so it has no one-hot vector of that width")
        return one_hot.to(dtype).permute(2, 0, 1)
