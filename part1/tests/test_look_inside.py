"""The look inside: Jacobians against autograd's, traces against a plain loop, and the scripts that write the tables."""
import math

import pytest
import torch
from torch.autograd.functional import jacobian

from part1 import drawing, evaluate, files, grads_over_time, look_inside, run, train
from part1.dataset import PalindromeDataset
from part1.lstm import LSTM
from part1.vanilla_rnn import VanillaRNN


@pytest.mark.parametrize("network_class", [VanillaRNN, LSTM])
def test_jacobians_are_autograds(network_class):
    torch.manual_seed(0)
    network, x = network_class(6, 10, 5, 10).double(), torch.randint(10, (1, 6))
    states, inputs = list(network.states(x)), network.encode(x).unbind(dim=1)
    for k, name in enumerate(network.state_names):
        for t in range(6):
            def last_hidden(tensor):
                state = [*states[t]]
                state[k] = tensor.unsqueeze(0)
                if name == "c":  # h(t) follows from c(t)
                    o = torch.sigmoid(inputs[t] @ network.W_ox.T + before @ network.W_oh.T + network.b_o)
                    state[0] = torch.tanh(state[1]) * o
                for x_t in inputs[t + 1:]:
                    state = network.step(x_t, *state)
                return state[0][0]

            before = states[t - 1][0] if t else torch.zeros(1, 5, dtype=torch.float64)
            torch.testing.assert_close(look_inside.jacobians(network, x)[name][t],
                                       jacobian(last_hidden, states[t][k][0].detach()))


def test_a_trace_follows_the_training(tmp_path):
    flags = look_inside.flags_of("RNN", 5, 1, num_hidden=6, batch_size=8, train_steps=3, eval_every=1, eval_size=10)
    rows = list(look_inside.trace(flags, 3))
    flags.output = tmp_path
    train.train(flags, quiet=True)
    trained = run.load_checkpoint(tmp_path / "checkpoint.pt", train.SCRIPT)["parts"]["model"]["W_hh"]
    torch.manual_seed(1)
    start = train.make_model(flags).W_hh
    assert [row["step"] for row in rows] == [0, 1, 2, 3] and rows[0]["moved"] == 0 and 0 < rows[0]["slope"] < 1
    assert rows[3]["moved"] == pytest.approx(torch.linalg.svdvals(trained - start)[0].item(), rel=1e-4)
    assert rows[3]["sigma_1"] == pytest.approx(torch.linalg.svdvals(trained)[0].item(), rel=1e-4)


def test_a_trace_ends_where_the_training_diverges(tmp_path):
    flags = look_inside.flags_of("RNN", 5, 1, num_hidden=6, batch_size=8, train_steps=9, eval_every=1, eval_size=10,
                                 optimizer="sgd", learning_rate=1e38)
    rows = list(look_inside.trace(flags, 9))
    flags.output = tmp_path
    with pytest.raises(run.Diverged):
        train.train(flags, quiet=True)
    last = run.load_checkpoint(tmp_path / "checkpoint.pt", train.SCRIPT)["step"]
    assert [row["step"] for row in rows] == list(range(last + 1)) and last < 9


@pytest.mark.parametrize("script, work", [
    (look_inside, "trace"), (evaluate, "accuracies"), (grads_over_time, "measure")])
def test_an_impossible_output_is_refused_before_the_work(script, work, tmp_path, refused, monkeypatch):
    train.train(train.parse_args(["--train_steps", "1", "--input_length", "3", "--eval_size", "9", "--output",
                                  str(tmp_path / "run")]), quiet=True)
    (tmp_path / "file").write_text("mine")
    flags = ["--checkpoint", tmp_path / "run" / "checkpoint.pt"] if script is evaluate else ["--palindrome_length", 5]
    monkeypatch.setattr(script, work, lambda *args: pytest.fail("it has begun"))
    assert str(tmp_path / "file") in refused(script, *flags, "--output", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_latched_units_keep_their_sign_and_naive_ones_do_not():
    data = PalindromeDataset(30)
    for model in ("RNN", "LSTM"):
        keep_sign, readable = {}, {}
        for start in ("latch", "naive"):
            torch.manual_seed(0)
            network = train.make_model(look_inside.flags_of(model, 30, 0, **look_inside.STARTS[start]))
            keep_sign[start] = look_inside.state_row(network, data.batch(50)[0])["keep_sign"]
            readable[start] = look_inside.readable(network, data, 0)
        assert keep_sign["latch"] > 0.95 > 0.3 > keep_sign["naive"] and readable["latch"] > 0.99
        assert model == "RNN" or readable["naive"] < 0.2


def test_a_latch_passes_no_direction_back():
    network = train.make_model(look_inside.flags_of("RNN", 30, 0, **look_inside.STARTS["latch"])).double()
    rows = list(look_inside.directions(network, PalindromeDataset(30).batch(1)[0], 10))
    assert [(row["back"], row["above_0.01"]) for row in rows] == [(10, 0), (20, 0)]


class Remembers:
    """A network whose state is the first digit, one-hot, plus noise of this size; and a unit that never changes."""

    def __init__(self, noise, scale):
        self.noise, self.scale = noise, scale

    def states(self, digits):
        noise = torch.randn(len(digits), 10, generator=torch.Generator().manual_seed(0))
        state = self.scale * (torch.eye(10)[digits[:, 0].long()] + self.noise * noise)
        yield torch.cat([state, torch.ones(len(digits), 1)], dim=1),


@pytest.mark.parametrize("scale", [1, 1e-3])
@pytest.mark.parametrize("noise, lowest, highest", [(0, 1, 1), (0.3, 0.8, 0.99), (1000, 0.05, 0.2)])
def test_what_a_state_holds_can_be_read_at_any_scale_and_what_it_does_not_cannot(noise, lowest, highest, scale):
    assert lowest <= look_inside.readable(Remembers(noise, scale), PalindromeDataset(5), seed=0) <= highest


def test_networks_read_other_lengths(tmp_path, call):
    flags = ["--init", "latch", "--input_dim", 10, "--input_length", 9, "--train_steps", 60, "--eval_every", 60,
             "--eval_size", 100]
    assert call(train, *flags, "--output", tmp_path / "run")[0] == 0
    status, _, err = call(evaluate, "--checkpoint", tmp_path / "run" / "checkpoint.pt", "--palindrome_lengths", 10, 200,
                          "--eval_size", 200, "--output", tmp_path)
    rows = files.read_csv(tmp_path / "beyond.csv")
    assert (status, err) == (0, "") and [row["T"] for row in rows] == [10, 200]
    assert all(row["accuracy"] > 0.95 and row["trained_at"] == 10 for row in rows)
    assert (tmp_path / "beyond.png").exists()


def test_only_seeds_are_averaged(tmp_path, refused):
    for folder, *more in (("one", "--seed", "1"), ("wide", "--num_hidden", "9")):
        flags = ["--train_steps", "1", "--input_length", "3", "--eval_size", "9", *more, "--output", tmp_path / folder]
        train.train(train.parse_args(list(map(str, flags))), quiet=True)
    checkpoints = [tmp_path / name / "checkpoint.pt" for name in ("one", "wide")]
    for script in (evaluate, grads_over_time):
        assert "another --num_hidden: only seeds" in refused(script, "--checkpoint", *checkpoints, "--output", tmp_path)


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


@pytest.mark.parametrize("name", ["RNN", "LSTM", "PeepLSTM"])
def test_slopes_and_gates_are_those_of_a_loop_over_numbers(name):
    """One unit, one palindrome: 2, 5, 3 is read digit by digit."""
    network = train.MODELS[name](3, 1, 1, 10)
    weights = {key: 0.1 * k - 0.5 for k, key in enumerate(dict(network.named_parameters()))}
    for key, parameter in network.named_parameters():
        torch.nn.init.constant_(parameter, weights[key])
    h = c = 0.0
    slopes, gates = [], {"i": [], "f": []}
    for x in (2, 5, 3):
        a = {gate: weights[f"W_{gate}x"] * x + weights[f"b_{gate}"] + weights.get(f"W_{gate}h", 0) * (
            c if name == "PeepLSTM" else h) for gate in network.gates}
        if name == "RNN":
            h = math.tanh(a["h"])
            slopes.append(1 - h**2)
            continue
        candidate = math.tanh(a["g"]) if name == "LSTM" else sigmoid(a["c"])
        for gate, values in gates.items():
            values.append(sigmoid(a[gate]))
        c = candidate * gates["i"][-1] + c * gates["f"][-1]
        h = math.tanh(c) * sigmoid(a["o"])
        slopes.append(1 - math.tanh(c) ** 2)
    row = look_inside.state_row(network.double(), torch.tensor([[2, 5, 3]]))
    assert row["slope"] == pytest.approx(sum(slopes) / 3)
    if name == "RNN":
        assert row["mean_field"] == pytest.approx(math.sqrt(sum(slope**2 for slope in slopes) / 3))
    else:
        for gate, (first, *later) in gates.items():
            assert row[f"{gate}_first"] == pytest.approx(first) and row[f"{gate}_later"] == pytest.approx(sum(later) / 2)


def test_a_gru_has_no_tanh_units_and_a_palindrome_of_two_no_later_digit():
    assert look_inside.state_row(train.MODELS["GRU"](3, 1, 4, 10), PalindromeDataset(4).batch(5)[0])["slope"] is None
    row = look_inside.state_row(LSTM(1, 1, 4, 10), PalindromeDataset(2).batch(5)[0])
    assert 0 < row["i_first"] < 1 and row["i_later"] is None


def test_only_trained_networks_of_decimal_palindromes_read_other_lengths(tmp_path, refused):
    train.train(train.parse_args(f"--dataset binary_palindrome --input_length 2 --train_steps 1 --eval_size 9 "
                                 f"--output {tmp_path / 'run'}".split()), quiet=True)
    assert "--checkpoint" in refused(evaluate, "--output", tmp_path)
    assert "trained on decimal palindromes" in refused(evaluate, "--checkpoint", tmp_path / "run" / "checkpoint.pt",
                                                 "--output", tmp_path)


def test_wilsons_interval_is_the_published_one():
    assert drawing.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe, Statistics in Medicine 1998
