"""The gradient through time against difference quotients of a plain loop, and the script around it."""
import csv

from part1 import run
import numpy as np
import pytest
import torch
from PIL import Image
from pypdf import PdfReader
from torch.nn.functional import cross_entropy

from part1 import grads_over_time, train
from part1.dataset import PalindromeDataset
from part1.lstm import LSTM
from part1.peep_lstm import PeepLSTM
from part1.tests.test_networks import randomized
from part1.vanilla_rnn import VanillaRNN
from report import style

STATES = {VanillaRNN: ["h"], LSTM: ["h", "c"], PeepLSTM: ["h", "c"]}
TINY = ["--palindrome_length", 5, "--num_hidden", 3, "--batch_size", 4, "--seeds", 0, 1]


def loss_with_a_push(network, digits, labels, t, which, push):
    """The examples' losses when state number `which` of step t is moved by `push`, in a loop of its own."""
    inputs = network.encode(digits)
    state = [torch.zeros(len(digits), network.num_hidden, dtype=torch.float64) for _ in STATES[type(network)]]
    for step in range(inputs.shape[1]):
        state = list(network.step(inputs[:, step], *state))
        if step == t:
            if which == 1:  # h(t) = tanh(c(t)) o(t) follows c(t)
                state[0] = state[0] / state[1].tanh() * (state[1] + push).tanh()
            state[which] = state[which] + push
    return cross_entropy(state[0] @ network.W_ph.T + network.b_p, labels, reduction="none")


@pytest.mark.parametrize("input_dim", [1, 10])
@pytest.mark.parametrize("network_class", STATES)
def test_norms_are_those_of_difference_quotients(network_class, input_dim):
    network = randomized(network_class(5, input_dim, 4, 10)).double()
    digits, labels = PalindromeDataset(6).batch(3, torch.Generator().manual_seed(0))
    digits = digits / 4 if input_dim == 1 else digits  # keeps the raw digits out of the saturated tails
    found = grads_over_time.gradient_norms(network, digits, labels)
    assert list(found) == STATES[network_class]
    size = 1e-5
    with torch.no_grad():
        for which, name in enumerate(found):
            assert found[name].shape == (5,)
            for t in range(5):
                quotients = torch.empty(3, 4, dtype=torch.float64)
                for unit in range(4):
                    push = torch.zeros(4, dtype=torch.float64)
                    push[unit] = size
                    up, down = (loss_with_a_push(network, digits, labels, t, which, sign * push) for sign in (1, -1))
                    quotients[:, unit] = (up - down) / (2 * size)
                assert found[name][t] == pytest.approx(quotients.norm(dim=1).mean().item(), rel=1e-5, abs=1e-9)


def test_the_norm_is_averaged_over_examples_not_over_their_sum():
    network = randomized(VanillaRNN(4, 1, 5, 10)).double()
    digits, labels = PalindromeDataset(5).batch(6, torch.Generator().manual_seed(1))
    one_by_one = [grads_over_time.gradient_norms(network, digits[k:k + 1], labels[k:k + 1])["h"] for k in range(6)]
    together = grads_over_time.gradient_norms(network, digits, labels)["h"]
    np.testing.assert_allclose(together, np.mean(one_by_one, axis=0), rtol=1e-10)


def test_the_hidden_state_of_a_peephole_lstm_feeds_nothing_before_the_last_step():
    network = randomized(PeepLSTM(6, 10, 4, 10)).double()
    norms = grads_over_time.gradient_norms(network, *PalindromeDataset(7).batch(5))
    assert (norms["h"][:-1] == 0).all() and norms["h"][-1] > 0 and (norms["c"] > 0).all()


def rows_of(folder):
    with open(folder / "gradients.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_script_writes_a_table_and_a_figure(tmp_path, call):
    folder = tmp_path / "new" / "folder"
    status, out, err = call(grads_over_time, *TINY, "--output", folder)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 10 and out.splitlines()[-1].startswith("figure: ")
    rows = rows_of(folder)
    curves = {}
    for row in rows:
        curves.setdefault((row["model_type"], row["input"], row["state"]), []).append(row)
    assert set(curves) == {(model, digits, state) for model, states in
                           [("RNN", "h"), ("LSTM", "h"), ("LSTM", "c"), ("PeepLSTM", "c")]
                           for digits in ("raw", "one-hot") for state in states}
    for curve in curves.values():
        assert [row["t"] for row in curve] == ["1", "2", "3", "4"] and {row["seeds"] for row in curve} == {"2"}
        assert all(0 < float(row["norm"]) < 10 and float(row["factor"]) >= 1 for row in curve)
    mark = f"sha256:{style.fingerprint([folder / 'gradients.csv'])}"
    assert PdfReader(folder / "gradients.pdf").metadata["/Keywords"] == mark
    assert Image.open(folder / "gradients.png").text["Keywords"] == mark

    call(grads_over_time, *TINY, "--output", tmp_path / "again")
    for file in ("gradients.csv", "gradients.pdf", "gradients.png"):
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def measured(*flags):
    return grads_over_time.measure(grads_over_time.parse_args([str(flag) for flag in [*TINY, *flags]]))


def test_the_table_holds_the_geometric_mean_and_spread_over_the_seeds():
    (one, none), (other, also_none), (mean, factor) = (
        np.array([[float(row["norm"]), float(row["factor"])] for row in measured("--seeds", *seeds)]).T
        for seeds in ([0], [1], [0, 1]))
    assert (none == 1).all() and (also_none == 1).all()
    np.testing.assert_allclose(mean, np.sqrt(one * other), rtol=1e-4)
    np.testing.assert_allclose(factor, np.exp(np.abs(np.log(one / other)) / np.sqrt(2)), rtol=1e-4)


def test_forget_bias_and_init_reach_the_networks():
    tables = [measured(*flags) for flags in (
        [], ["--forget_bias", "chrono"], ["--init", "orthogonal"], ["--num_hidden", 4])]
    assert all(tables[0] != other for other in tables[1:])
    assert tables[0][:4] == tables[1][:4]  # the vanilla RNN has no forget gate
    assert tables[0][:4] != tables[2][:4]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folders of tiny trained runs, by model."""
    folders = {}
    for model in train.MODELS:
        folders[model] = tmp_path_factory.mktemp("trained") / model
        train.train(train.parse_args(["--model_type", model, "--num_hidden", "4", "--batch_size", "4", "--input_length",
                                      "6", "--eval_size", "20", "--train_steps", "2", "--output", str(folders[model])]),
                    quiet=True)
    return folders


def test_one_trained_network_gets_a_figure_without_an_empty_panel(checkpoints, tmp_path, call, recwarn):
    status, _, err = call(grads_over_time, "--checkpoint", checkpoints["RNN"] / "checkpoint.pt", "--output", tmp_path)
    assert (status, err, list(recwarn)) == (0, "", [])  # an empty panel would warn of its legend
    assert len(rows_of(tmp_path)) == 6 and (tmp_path / "gradients.png").exists()


def test_trained_networks_come_from_their_checkpoints(checkpoints):
    rows = measured("--checkpoint", *(folder / "checkpoint.pt" for folder in checkpoints.values()))
    assert [row["model_type"] for row in rows] == ["RNN"] * 6 + ["LSTM"] * 12 + ["PeepLSTM"] * 6
    for model, folder in checkpoints.items():
        config, network = train.load(folder / "checkpoint.pt")
        batch = PalindromeDataset(7).batch(4, run.generator(config.seed, "gradient data"))
        expected = grads_over_time.gradient_norms(network.double(), *batch)
        for state in {row["state"] for row in rows if row["model_type"] == model}:
            found = [float(row["norm"]) for row in rows if (row["model_type"], row["state"]) == (model, state)]
            np.testing.assert_allclose(found, expected[state], rtol=1e-5)


def test_wrong_checkpoints_are_one_line(checkpoints, tmp_path, refused):
    checkpoint = checkpoints["RNN"] / "checkpoint.pt"
    torn, foreign = tmp_path / "torn.pt", tmp_path / "foreign.pt"
    torn.write_bytes(checkpoint.read_bytes()[:-50])
    torch.save({"weights": torch.zeros(2)}, foreign)
    output = tmp_path / "output"
    for file, message in [(torn, "torn"), (foreign, "not a checkpoint of this project"), (tmp_path, "is a folder"),
                          (tmp_path / "none.pt", "no checkpoint")]:
        assert message in refused(grads_over_time, "--checkpoint", checkpoint, file, "--output", output)
    longer = tmp_path / "longer"
    train.train(train.parse_args(["--num_hidden", "4", "--batch_size", "4", "--input_length", "7", "--eval_size", "20",
                                  "--train_steps", "2", "--output", str(longer)]), quiet=True)
    assert "same palindrome length" in refused(grads_over_time, "--checkpoint", checkpoint, longer / "checkpoint.pt",
                                               "--output", output)
    assert not output.exists()


@pytest.mark.parametrize("flags, hint", [
    ("--palindrome_length 1", "at least 2"), ("--num_hidden 0", "at least 1"), ("--seeds -1", "at least 0"),
    ("--seeds 18446744073709551616", "at most"), ("--batch_size 0", "at least 1"), ("--device cuda:7", "cuda:7"),
    ("--forget_bias x", "number or chrono"), ("--init zeros", "zeros"), ("--seeds", "at least one argument"),
    ("--output /proc/gradients", "/proc/gradients"), ("--output /dev/null", "/dev/null")])
def test_wrong_flags_are_one_line(flags, hint, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hint in refused(grads_over_time, *TINY, "--output", "run", *flags.split())
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_float64_is_refused(refused, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "float64" in refused(grads_over_time, *TINY, "--device", "mps")
