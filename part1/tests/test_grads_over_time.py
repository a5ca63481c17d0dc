"""The gradient through time against difference quotients of a plain loop, and the script around it."""
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from part1 import drawing, evaluate, files, grads_over_time, look_inside, run, style, train
from part1.dataset import PalindromeDataset
from part1.tests.test_networks import randomized

TINY = ["--palindrome_length", 5, "--num_hidden", 3, "--batch_size", 4, "--seeds", 0, 1]


def gradient_norms(network, digits, labels):
    gradients = grads_over_time.gradients_through_time(network, digits, labels)
    return {name: gradient.norm(dim=2).mean(dim=1).numpy() for name, gradient in gradients.items()}


def loss_with_a_push(network, digits, labels, t, which, push):
    """The examples' losses when state number `which` of step t is moved by `push`, in a loop of its own."""
    inputs = network.encode(digits)
    state = [torch.zeros(len(digits), network.W_ph.shape[1], dtype=torch.float64) for _ in network.state_names]
    for step in range(inputs.shape[1]):
        state = list(network.step(inputs[:, step], *state))
        if step == t:
            if which == 1:  # h(t) = tanh(c(t)) o(t) follows c(t)
                state[0] = state[0] / state[1].tanh() * (state[1] + push).tanh()
            state[which] = state[which] + push
    return cross_entropy(state[0] @ network.W_ph.T + network.b_p, labels, reduction="none")


@pytest.mark.parametrize("network_class", train.MODELS.values())
def test_norms_are_those_of_difference_quotients(network_class):
    network = randomized(network_class(5, 10, 4, 10))
    digits, labels = PalindromeDataset(6).batch(3, torch.Generator().manual_seed(0))
    found = gradient_norms(network, digits, labels)
    assert list(found) == list(network_class.state_names)
    size = 1e-5
    with torch.no_grad():
        for which, name in enumerate(found):
            assert found[name].shape == (5,)
            for t in range(5):
                width = network.W_ph.shape[1]
                quotients = torch.empty(3, width, dtype=torch.float64)
                for unit in range(width):
                    push = torch.zeros(width, dtype=torch.float64)
                    push[unit] = size
                    up, down = (loss_with_a_push(network, digits, labels, t, which, sign * push) for sign in (1, -1))
                    quotients[:, unit] = (up - down) / (2 * size)
                assert found[name][t] == pytest.approx(quotients.norm(dim=1).mean().item(), rel=1e-5, abs=1e-9)


def test_the_script_writes_a_table_and_a_figure(tmp_path, call):
    folder = tmp_path / "new" / "folder"
    status, out, err = call(grads_over_time, *TINY, "--output", folder)
    assert (status, err) == (0, "") and len(out.splitlines()) == 10 and out.splitlines()[-1].startswith("figure: ")
    rows = files.read_csv(folder / "gradients.csv")
    curves = {}
    for row in rows:
        curves.setdefault((row["model_type"], row["input"], row["state"]), []).append(row)
    assert set(curves) == {(model, digits, state) for model, states in
                           [("RNN", "h"), ("LSTM", "h"), ("LSTM", "c"), ("PeepLSTM", "c")]
                           for digits in ("raw", "one-hot") for state in states}
    for curve in curves.values():
        assert [row["t"] for row in curve] == [1, 2, 3, 4] and {row["seeds"] for row in curve} == {2}
        assert all(0 < float(row["norm"]) < 10 and float(row["factor"]) >= 1 for row in curve)
    assert sorted(file.name for file in folder.iterdir()) == ["gradients.csv", "gradients.pdf", "gradients.png"]


def measured(**settings):
    sizes = {"palindrome_length": 5, "num_hidden": 3, "seeds": [0, 1]}
    return grads_over_time.measure(grads_over_time.untrained(**sizes | settings), batch_size=4)


def test_the_table_holds_the_geometric_mean_and_spread_over_the_seeds():
    (one, none), (other, also_none), (mean, factor) = (
        np.array([[float(row["norm"]), float(row["factor"])] for row in measured(seeds=seeds)]).T
        for seeds in ([0], [1], [0, 1]))
    assert (none == 1).all() and (also_none == 1).all()
    np.testing.assert_allclose(mean, np.sqrt(one * other), rtol=1e-4)
    np.testing.assert_allclose(factor, np.exp(np.abs(np.log(one / other)) / np.sqrt(2)), rtol=1e-4)


def test_forget_bias_and_init_reach_the_networks():
    plain, chrono, orthogonal = measured(), measured(forget_bias="chrono"), measured(init="orthogonal")
    assert plain[:4] == chrono[:4] != orthogonal[:4]  # the vanilla RNN has no forget gate
    assert plain[8:] != chrono[8:]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Checkpoints of tiny trained runs, by model; "longer" reads one digit more, "frozen" has trained its output only."""
    paths = {}
    for name, flags in {**{name: ["--model_type", name] for name in train.MODELS}, "longer": ["--input_length", "7"],
                        "frozen": ["--model_type", "LSTM", "--freeze_recurrent"]}.items():
        folder = tmp_path_factory.mktemp("trained") / name
        train.train(train.parse_args(["--input_length", "6", "--num_hidden", "4", "--batch_size", "4", "--eval_size", "20",
                                      "--train_steps", "2", *flags, "--output", str(folder)]), quiet=True)
        paths[name] = folder / "checkpoint.pt"
    return paths


def test_trained_networks_come_from_their_checkpoints(checkpoints, tmp_path, call, recwarn, no_rendering):
    status, _, err = call(grads_over_time, "--checkpoint", *(checkpoints[name] for name in train.MODELS), "--batch_size", 4,
                          "--output", tmp_path)
    assert (status, err, list(recwarn)) == (0, "", [])
    rows = files.read_csv(tmp_path / "gradients.csv")
    assert [row["model_type"] for row in rows] == [
        name for name, model in train.MODELS.items() for _ in model.carried for _ in range(6)]
    for name in train.MODELS:
        network = train.MODELS[name](6, 1, 4, 10)
        network.load_state_dict(run.load_checkpoint(checkpoints[name], train.SCRIPT)["parts"]["model"])
        expected = gradient_norms(network.double(), *PalindromeDataset(7).batch(4, run.generator(0, "gradient data")))
        for state in network.carried:
            found = [row["norm"] for row in rows if (row["model_type"], row["state"]) == (name, state)]
            np.testing.assert_allclose(found, expected[state], rtol=1e-5)


def test_a_network_that_was_frozen_has_gradients_too(checkpoints, tmp_path, call, no_rendering):
    for script in (grads_over_time, look_inside):
        assert call(script, "--checkpoint", checkpoints["frozen"], "--output", tmp_path)[::2] == (0, "")
    assert min(row["norm"] for row in files.read_csv(tmp_path / "gradients.csv")) > 0
    assert {row["largest"] > 0 for row in files.read_csv(tmp_path / "directions.csv")} == {True}


def test_wrong_checkpoints_are_one_line(checkpoints, tmp_path, refused):
    torn = tmp_path / "torn.pt"
    torn.write_bytes(checkpoints["RNN"].read_bytes()[:-50])
    output = tmp_path / "output"
    for file, message in [(torn, "torn"), (tmp_path, f"try {tmp_path / 'checkpoint.pt'}"),
                          (tmp_path / "none.pt", "no checkpoint"), (checkpoints["longer"], "another --input_length")]:
        assert message in refused(grads_over_time, "--checkpoint", checkpoints["RNN"], file, "--output", output)
    assert not output.exists()


@pytest.mark.parametrize("value", [torch.zeros(2), "3", None, -1])
def test_a_checkpoint_with_flags_that_cannot_be_is_refused(value, checkpoints, tmp_path, refused):
    content = torch.load(checkpoints["RNN"], weights_only=True)
    torch.save(content | {"config": content["config"] | {"seed": value}}, tmp_path / "checkpoint.pt")
    flags = ["--checkpoint", tmp_path / "checkpoint.pt", "--output", tmp_path / "output"]
    for script in (grads_over_time, evaluate, look_inside):
        assert "has other flags than this version of part1.train" in refused(script, *flags)


@pytest.mark.parametrize("flags, hint", [
    ("--palindrome_length 1", "at least 2"), ("--seeds -1", "at least 0"), ("--device cuda:7", "cuda:7"),
    ("--forget_bias x", "number or chrono"), ("--seeds", "at least one argument"), ("--output /dev/null", "/dev/null")])
def test_wrong_flags_are_one_line(flags, hint, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hint in refused(grads_over_time, *TINY, "--output", "run", *flags.split())
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_float64_is_refused(refused, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "float64" in refused(grads_over_time, *TINY, "--device", "mps")


@pytest.mark.parametrize("draw", [
    lambda path: drawing.gradients({"": [
        {"model_type": model, "input": digits, "state": state, "t": t, "norm": 0.5**t, "factor": 1.0}
        for model in ("RNN", "LSTM", "PeepLSTM") for digits in ("raw", "one-hot") for state in "hc"
        for t in (1, 2)]}, path),
    lambda path: drawing.learning_curves([
        {"model_type": model, "palindrome_length": L, "seed": 0, "step": step, "accuracy": 0.5, "eval_loss": 0.5}
        for model in ("LSTM", "PeepLSTM", "TanhPeepLSTM", "RecurrentPeepLSTM", "OutputPeepLSTM") for L in (10, 20)
        for step in (1, 2)], {10: 0.5, 20: 0.5}, path),
    lambda path: drawing.speed([
        {"model_type": model, "threads": 1, "GOMP_SPINCOUNT": 1000, "T": T} | {
            name + part: 1.0 if (name == "torch") == (model == "GRU") else None
            for name in drawing.CONTESTANTS for part in ("_ms", "_q1", "_q3")}
        for model in ("GRU", "LSTM") for T in (10, 20)], path)], ids=["gradients", "learning curves", "speed"])
def test_a_legend_is_inside_the_figure_and_has_every_line_once(draw, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(style, "save", lambda figure, *args: figures.append(figure))
    draw(tmp_path / "figure")
    figure, = figures
    figure.draw_without_rendering()
    box, (legend,) = figure.bbox, figure.legends
    assert box.x0 <= legend.get_window_extent().x0 and legend.get_window_extent().x1 <= box.x1
    drawn = {line.get_label() for axes in figure.axes for line in axes.get_lines() if line.get_label()[0] != "_"}
    assert sorted(text.get_text() for text in legend.get_texts()) == sorted(drawn)
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in legend.get_lines()]
    assert len(set(looks)) == len(looks)
