"""Initial weights of the networks of Part 1: Xavier, Kaiming or orthogonal matrices, and the LSTM's gate biases.

Which one is chosen decides more than the architecture does: with Xavier weights and zero biases an LSTM remembers no
better than the vanilla RNN, with chrono biases it remembers hundreds of steps.
"""
import torch
from torch.nn import init

INITS = ("xavier", "kaiming", "orthogonal")


@torch.no_grad()
def initialize(network, scheme="xavier", forget_bias=None):
    """Draw all parameters of `network` anew, each gate's matrix by itself, from torch's global generator.

    Args:
        network: a `RecurrentNetwork`; its parameters are changed in place.
        scheme: "xavier" (uniform; Glorot & Bengio, AISTATS 2010), "kaiming" (normal, standard deviation
            1/sqrt(fan_in); He et al., ICCV 2015, for a gain of 1) or "orthogonal" (recurrent matrices W_*h orthogonal,
            Saxe et al., ICLR 2014, the others Xavier).
        forget_bias: None leaves all biases zero; a number is b_f; "chrono" draws b_f = log U(1, T - 1) and sets
            b_i = -b_f (Tallec & Ollivier, ICLR 2018), T - 1 being the number of inputs.

    Raises `ValueError` for an unknown scheme and for `forget_bias` on a network without a forget gate.
    """
    if scheme not in INITS:
        raise ValueError(f"the initialization is one of {', '.join(INITS)}, not {scheme!r}")
    if forget_bias is not None and "f" not in network.gates:
        raise ValueError("a vanilla RNN has no forget gate, so --forget_bias makes no sense for it")
    for name, parameter in network.named_parameters():
        if name.startswith("b_"):
            parameter.zero_()
        elif scheme == "kaiming":
            init.kaiming_normal_(parameter, nonlinearity="linear")
        elif scheme == "orthogonal" and name.endswith("h") and name != "W_ph":
            init.orthogonal_(parameter)
        else:
            init.xavier_uniform_(parameter)
    if forget_bias == "chrono":
        network.b_f.copy_(torch.empty_like(network.b_f).uniform_(1, max(1, network.seq_length)).log_())
        network.b_i.copy_(-network.b_f)
    elif forget_bias is not None:
        network.b_f.fill_(forget_bias)
