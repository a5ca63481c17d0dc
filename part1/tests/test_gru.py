"""The GRU against a plain loop in NumPy, and against torch's where the two agree."""
import numpy as np
import pytest
import torch
from torch import nn

from part1 import train
from part1.cli import InputError
from part1.gru import GRU
from part1.tests.test_networks import randomized


def test_its_parameters_are_the_equations():
    shapes = {name: tuple(parameter.shape) for name, parameter in GRU(4, 3, 5, 7).named_parameters()}
    assert " ".join(shapes) == "W_zx W_zh b_z W_rx W_rh b_r W_hx W_hh b_h W_ph b_p"
    assert shapes == {name: (7, 5) if name == "W_ph" else (7,) if name == "b_p" else (5,) if name[0] == "b" else
                      (5, 3) if name[-1] == "x" else (5, 5) for name in shapes}


def test_it_equals_a_loop_over_sequences_in_numpy():
    network = randomized(GRU(6, 4, 5, 3))
    W = {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}
    digits = np.array([[0, 3, 1, 2, 2, 1], [3, 3, 0, 0, 1, 2]])
    for row, logits in zip(digits, network(torch.tensor(digits)).detach().numpy()):
        h = np.zeros(5)
        for x in np.eye(4)[row]:
            z = 1 / (1 + np.exp(-(W["W_zh"] @ h + W["W_zx"] @ x + W["b_z"])))
            r = 1 / (1 + np.exp(-(W["W_rh"] @ h + W["W_rx"] @ x + W["b_r"])))
            new = np.tanh(W["W_hh"] @ np.multiply(r, h) + W["W_hx"] @ x + W["b_h"])
            h = h + z * (new - h)
        np.testing.assert_allclose(logits, W["W_ph"] @ h + W["b_p"], rtol=0, atol=1e-12)


def test_with_open_reset_gates_it_is_torchs_with_z_turned_round():
    network = randomized(GRU(9, 10, 6, 3))
    with torch.no_grad():
        network.b_r.fill_(1e3)  # r = 1, and then it does not matter where it is applied
    weights = {name: -weight if name in ("W_zx", "W_zh", "b_z") else weight
               for name, weight in network.state_dict().items()}
    cell, zero = nn.GRU(10, 6, batch_first=True).double(), torch.zeros(18)
    cell.load_state_dict({
        "weight_ih_l0": torch.cat([weights[f"W_{gate}x"] for gate in "rzh"]),
        "weight_hh_l0": torch.cat([weights[f"W_{gate}h"] for gate in "rzh"]),
        "bias_ih_l0": torch.cat([weights[f"b_{gate}"] for gate in "rzh"]), "bias_hh_l0": zero})
    digits = torch.randint(10, (5, 9), generator=torch.Generator().manual_seed(1))
    h = cell(nn.functional.one_hot(digits, 10).double())[0][:, -1]
    torch.testing.assert_close(network(digits), h @ weights["W_ph"].T + weights["b_p"], rtol=0, atol=1e-12)


def test_it_has_neither_a_latch_nor_a_forget_gate(refused, tmp_path):
    with pytest.raises(InputError, match="none for GRU"):
        GRU(4, 1, 5, 10).initialize("latch")
    for flags, words in (("--init latch", "none for GRU"), ("--forget_bias 1", "no forget gate")):
        assert words in refused(train, "--model_type", "GRU", *flags.split(), "--output", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
