"""What the three networks of Part 1 have in common: parameters by the equations' names, input, unrolling, output.

A network subclasses `RecurrentNetwork`, says which gates it has, and writes its equations in `step(x, *state)`: from
x(t), (batch, input_dim), and the state at t-1, each (batch, num_hidden), to the state at t, of which h comes first.
That is all there is to a cell: `part1.bptt` only computes the same faster, and `--backward autograd` does without it.
Nothing here or there is a `torch.nn` layer or cell: only `nn.Parameter` and elementary tensor operations.
"""
import torch
from torch import nn

from part1 import bptt
from part1.init import initialize


class RecurrentNetwork(nn.Module):
    """A recurrent cell unrolled over a sequence of digits, with a linear output p(T) after the last one.

    Args:
        seq_length: number of inputs; for a palindrome of length T that is T - 1.
        input_dim: d; 1 feeds the digit itself, more than 1 its one-hot vector of that width.
        num_hidden: n, units of the hidden state.
        num_classes: width of the output.
        device: where the parameters live.

    Raises `ValueError` for sizes below 1. Matrices start as Xavier and biases at zero (`part1.init` has other choices).
    """

    gates = ""  # the letters * of W_*x (num_hidden, input_dim) and b_* (num_hidden,), in the order of the parameters
    recurrent = ""  # those among them with a W_*h (num_hidden, num_hidden)
    state = ("h",)  # names of what `step` passes on
    unrolled = None  # the class in `part1.bptt` that holds the derivatives of `step`; without one autograd finds them
    backward_pass = "bptt"  # "autograd" runs `step` even so

    def __init__(self, seq_length, input_dim, num_hidden, num_classes, device="cpu"):
        super().__init__()
        self.seq_length, self.input_dim, self.num_hidden = seq_length, input_dim, num_hidden
        for name, size in dict(seq_length=seq_length, input_dim=input_dim, num_hidden=num_hidden,
                               num_classes=num_classes).items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        shapes = {}
        for gate in self.gates:
            shapes[f"W_{gate}x"] = (num_hidden, input_dim)
            if gate in self.recurrent:
                shapes[f"W_{gate}h"] = (num_hidden, num_hidden)
            shapes[f"b_{gate}"] = (num_hidden,)
        shapes |= {"W_ph": (num_classes, num_hidden), "b_p": (num_classes,)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device)))
        initialize(self)

    def forward(self, x, trace=None):
        """Logits p(T) of the last step, (batch, num_classes).

        Args:
            x: digits, (batch, seq_length) or (batch, seq_length, 1); with input_dim > 1 also vectors as they are, float
                (batch, seq_length, input_dim).
            trace: a list to which the state of each step is appended, a tuple as in `state`; autograd then finds the
                gradients.

        Raises `ValueError` for other shapes, and for digits outside 0 … input_dim - 1 where they become one-hot.
        """
        x = self.encode(x)
        if trace is None and self.unrolled and self.backward_pass == "bptt":
            h = bptt.last_hidden(self, x)
        else:
            state = [x.new_zeros(len(x), self.num_hidden) for _ in self.state]
            for x_t in x.unbind(dim=1):
                state = self.step(x_t, *state)
                if trace is not None:
                    trace.append(state)
            h = state[0]
        return h @ self.W_ph.T + self.b_p  # (2), (10)

    def encode(self, x):
        """Digits or vectors, shaped as `forward` takes them, to inputs (batch, seq_length, input_dim)."""
        shape = tuple(x.shape)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, self.input_dim)):
            raise ValueError(f"inputs are (batch, {self.seq_length}), (batch, {self.seq_length}, 1) or "
                             f"(batch, {self.seq_length}, {self.input_dim}), not {shape}")
        if shape[1] != self.seq_length:
            raise ValueError(f"this network reads {self.seq_length} inputs, not {shape[1]}")
        dtype = self.W_ph.dtype
        if len(shape) == 3 and shape[2] == self.input_dim:
            return x.to(dtype)
        if self.input_dim == 1:
            return x.unsqueeze(2).to(dtype)
        # With the batch in the last dimension, as part1.bptt wants it, and so several times faster.
        digits = x.reshape(shape[:2]).T.contiguous().unsqueeze(1)
        one_hot = digits == torch.arange(self.input_dim, device=x.device).unsqueeze(1)
        if not one_hot.any(dim=1).all():
            raise ValueError(f"a digit is none of 0 … {self.input_dim - 1}, so it has no one-hot vector of that width")
        return one_hot.to(dtype).permute(2, 0, 1)
