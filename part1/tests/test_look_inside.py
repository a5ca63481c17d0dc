"""The look inside: Jacobians against autograd's, traces against a plain loop, and the scripts that write the tables."""
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


def test_latched_units_keep_their_sign_and_naive_ones_do_not(tmp_path, call):
    assert call(look_inside, "--seeds", 0, "--palindrome_length", 30, "--updates", 0,
                "--high_rate_updates", 0, "--output", tmp_path)[0] == 0
    states = {(row["model_type"], row["start"]): row for row in files.read_csv(tmp_path / "states.csv")}
    for model in ("RNN", "LSTM"):
        assert states[model, "latch"]["keep_sign"] > 0.95 > 0.3 > states[model, "naive"]["keep_sign"]
        assert states[model, "latch"]["readable"] > 0.99
    assert states["LSTM", "naive"]["readable"] < 0.2
    rows = files.read_csv(tmp_path / "directions.csv")
    assert {row["above_0.01"] for row in rows if row["start"] == "latch" and row["model_type"] == "RNN"} == {0}


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
    flags = ["--init", "latch", "--input_dim", 10, "--input_length", 9, "--train_steps", 60, "--eval_every", 60]
    assert call(train, *flags, "--output", tmp_path / "run")[0] == 0
    status, _, err = call(evaluate, "--checkpoint", tmp_path / "run" / "checkpoint.pt", "--palindrome_lengths", 10, 200,
                          "--output", tmp_path)
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


def test_the_slope_is_that_of_tanh_units():
    digits = PalindromeDataset(4).batch(5)[0]
    for name, has in {"RNN": True, "LSTM": True, "PeepLSTM": True, "GRU": False}.items():
        assert (look_inside.kept_and_gates(train.MODELS[name](3, 1, 4, 10), digits)["slope"] is not None) == has


def test_wilsons_interval_is_the_published_one():
    assert drawing.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe, Statistics in Medicine 1998
