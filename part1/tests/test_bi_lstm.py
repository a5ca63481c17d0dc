"""The bidirectional LSTM against torch's, and the scripts that take any network."""
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from part1 import benchmark, files, grads_over_time, look_inside, train
from part1.bi_lstm import BiLSTM
from part1.cli import InputError
from part1.tests.test_networks import both_ways, digits_and_labels, randomized


def test_its_parameters_are_those_of_two_lstms_and_an_output():
    one = "W_gx W_gh b_g W_ix W_ih b_i W_fx W_fh b_f W_ox W_oh b_o".split()
    names = [f"{name}_{direction}" for direction in ("forward", "backward") for name in one]
    shapes = {name: tuple(parameter.shape) for name, parameter in BiLSTM(4, 3, 5, 7).named_parameters()}
    assert shapes == {"W_ph": (7, 10), "b_p": (7,)} | {
        name: (5,) if name[0] == "b" else (5, 3) if name[3] == "x" else (5, 5) for name in names}
    assert list(shapes) == [*names, "W_ph", "b_p"]


@both_ways
@pytest.mark.parametrize("length, input_dim", [(1, 1), (9, 1), (9, 10)])
def test_outputs_and_gradients_equal_torchs(length, input_dim, backward_pass):
    network = randomized(BiLSTM(length, input_dim, 6, 10), backward_pass)
    weights, cell = network.state_dict(), nn.LSTM(input_dim, 6, batch_first=True, bidirectional=True).double()
    output, names = nn.Linear(12, 10).double(), {}
    output.load_state_dict({"weight": weights["W_ph"], "bias": weights["b_p"]})
    for direction, suffix in (("_forward", ""), ("_backward", "_reverse")):
        for theirs, ours in (("weight_ih", "W_{}x"), ("weight_hh", "W_{}h"), ("bias_ih", "b_{}")):
            names[f"{theirs}_l0{suffix}"] = [ours.format(gate) + direction for gate in "ifgo"]
    zeros = {f"bias_hh_l0{suffix}": torch.zeros(24) for suffix in ("", "_reverse")}
    cell.load_state_dict(zeros | {theirs: torch.cat([weights[name] for name in ours]) for theirs, ours in names.items()})

    digits, labels = digits_and_labels(5, length)
    x = digits[..., None].double() if input_dim == 1 else nn.functional.one_hot(digits, 10).double()
    h = cell(x)[1][0]  # what each direction has at its own end
    ours, theirs = network(digits.float()), output(torch.cat([h[0], h[1]], dim=1))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    cross_entropy(ours, labels).backward()
    cross_entropy(theirs, labels).backward()
    torch.testing.assert_close(network.W_ph.grad, output.weight.grad, rtol=0, atol=1e-12)
    for theirs, ours in names.items():
        found = torch.cat([network.get_parameter(name).grad for name in ours])
        torch.testing.assert_close(found, cell.get_parameter(theirs).grad, rtol=0, atol=1e-12, msg=theirs)


def test_its_state_holds_both_directions_after_as_many_inputs():
    network = randomized(BiLSTM(4, 10, 3, 10))
    digits, _ = digits_and_labels(2, 4)
    turned, other = BiLSTM(4, 10, 3, 10).double(), {"forward": "backward", "backward": "forward"}
    weights = {"_".join(other.get(word, word) for word in name.split("_")): weight
               for name, weight in network.state_dict().items()}
    turned.load_state_dict(weights | {"W_ph": weights["W_ph"].roll(3, dims=1)})  # the directions exchanged
    torch.testing.assert_close(turned(digits.flip(1)), network(digits))
    for (h, c), (turned_h, turned_c) in zip(network.states(digits), turned.states(digits.flip(1))):
        assert h.shape == c.shape == (2, 6)
        torch.testing.assert_close((h, c), (turned_h.roll(3, dims=1), turned_c.roll(3, dims=1)))


def test_it_has_no_latch():
    with pytest.raises(InputError, match="none for BiLSTM"):
        BiLSTM(4, 1, 5, 10).initialize("latch")


def test_the_scripts_take_it(tmp_path, call, benchmark_here, no_rendering):
    sizes = ["--num_hidden", 3, "--batch_size", 4]
    flags = [*sizes, "--input_length", 4, "--input_dim", 10, "--eval_size", 20, "--train_steps", 2, "--eval_every", 2]
    assert call(train, "--model_type", "BiLSTM", *flags, "--output", tmp_path / "run")[0] == 0
    checkpoint = ["--checkpoint", tmp_path / "run" / "checkpoint.pt", "--output", tmp_path]
    assert call(look_inside, *checkpoint)[::2] == (0, "")
    assert call(grads_over_time, "--model_type", "BiLSTM", "--palindrome_length", 4, *sizes, "--output", tmp_path)[0] == 0
    assert {row["state"] for row in files.read_csv(tmp_path / "gradients.csv")} == {"h", "c"}
    assert call(benchmark, "--model_type", "GRU", "BiLSTM", "--palindrome_lengths", 4, "--threads", 1, "--repeats", 1,
                "--memory_lengths", "--output", tmp_path, *sizes)[0] == 0
    rows = {row["model_type"]: row for row in files.read_csv(tmp_path / "benchmark.csv")}
    assert [(rows[name]["bptt_ms"] is None, rows[name]["torch_ms"] is None) for name in ("GRU", "BiLSTM")] == [
        (True, False), (False, True)]
