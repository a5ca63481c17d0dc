"""The train script: the course's defaults, one line for every wrong input, the result, early stopping, learning."""
import os

import pytest
import torch

from part1 import bptt, files, run, train
from part1.dataset import PalindromeDataset

TINY = ["--num_hidden", 4, "--batch_size", 4, "--input_length", 3, "--eval_size", 20, "--train_steps", 6,
        "--eval_every", 2, "--device", "cpu"]


def in_process(*flags):
    return train.train(train.parse_args([str(flag) for flag in flags]), quiet=True)


# Flags

def test_defaults_are_the_courses():
    config = vars(train.parse_args([]))
    official = dict(model_type="RNN", input_length=10, input_dim=1, num_classes=10, num_hidden=128, batch_size=128,
                    learning_rate=1e-3, train_steps=10_000, max_norm=10.0)
    ours = dict(device="auto", dataset="palindrome", seed=0, optimizer="rmsprop", init="xavier", forget_bias=None,
                target_accuracy=None, output=None, resume=False, typed=set())
    assert {name: config[name] for name in official | ours} == official | ours
    assert config["eval_every"] > 0 and config["eval_size"] >= 5000


def test_the_number_of_classes_follows_the_dataset():
    assert train.parse_args(["--dataset", "binary_palindrome"]).num_classes == 2
    assert train.parse_args(["--dataset", "binary_palindrome", "--num_classes", "10"]).num_classes == 10
    assert train.parse_args(["--num_classes", "12"]).num_classes == 12
    assert train.parse_args(["--dataset", "random_combinations", "--input_length", "6"]).num_classes == 6


WRONG = [
    ("--model_type GPT", "'GPT'"), ("--dataset words", "'words'"), ("--optimizer adamw", "'adamw'"),
    ("--init zeros", "'zeros'"), ("--backward forward", "'forward'"), ("--input_length 0", "not 0"),
    ("--input_length 2.5", "2.5"), ("--input_length ten", "'ten'"), ("--input_dim 3", "1 or 10"),
    ("--dataset binary_palindrome --input_length 4 --input_dim 10", "1 or 3"),
    ("--dataset binary_palindrome", "even number"), ("--num_classes 9", "at least the dataset's 10"),
    ("--dataset binary_palindrome --input_length 4 --num_classes 1", "at least the dataset's 2"),
    ("--batch_size -1", "not -1"), ("--learning_rate nan", "not nan"), ("--learning_rate inf", "not inf"),
    ("--learning_rate=-1e-3", "above 0"), ("--learning_rate 1e39", "not 1e39"), ("--train_steps 0", "not 0"),
    ("--max_norm 0", "above 0"), ("--seed 9223372036854775808", "at most"), ("--target_accuracy 99", "at most 1"),
    ("--momentum 2", "at most 1"), ("--forget_bias 1", "no forget gate"), ("--forget_bias chrono", "no forget gate"),
    ("--init latch --dataset binary_palindrome --input_length 4", "does not tell the label"), ("--beta2 1", "below 1"),
    ("--model_type LSTM --init latch --forget_bias 1", "all biases"), ("--beta1 -0.1", "at least 0"),
    ("--dataset baum_sweet --input_length 1", "2 to 18"), ("--dataset random_combinations --input_dim 10", "1 or 3"),
    ("--dataset random_combinations --input_length 1", "at least 2"),
    ("--model_type LSTM --forget_bias Chrono", "number or chrono"), ("--model_type LSTM --forget_bias 1e39", "1e39"),
    ("--device cuda:999", "cuda:999"), ("--device gpu", "'gpu'"), ("--resume", "no checkpoint"),
    ("--epochs 3", "unrecognized arguments: --epochs 3"), ("--num_hid 3", "unrecognized"), ("stray", "unrecognized"),
    ("--num_hidden 99999999999999999999", "too large"), ("--num_hidden 2000000000", "memory"),
    ("--batch_size 2000000000 --input_length 99", "memory"), ("--eval_size 2000000000 --input_length 99", "memory"),
    ("--input_length 2000000000 --batch_size 100", "memory")]


@pytest.mark.parametrize("flags, hint", WRONG, ids=[flags for flags, _ in WRONG])
def test_a_wrong_flag_ends_in_one_line_and_nothing_is_written(flags, hint, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(train, *TINY, "--output", "run", *flags.split())
    assert hint in line and len(line) < 250
    assert os.listdir(tmp_path) == []


def test_an_impossible_output_ends_in_one_line(tmp_path, refused):
    file = tmp_path / "file"
    file.write_text("mine")
    assert "File exists" in refused(train, *TINY, "--output", file)
    for output in (file / "run", "/proc/run", "/dev/null/run", tmp_path / "new" / ("long" * 100)):
        assert refused(train, *TINY, "--output", output).startswith("error: ")
    assert "--resume needs --output" in refused(train, "--resume")
    for output in (file, file / "run", "/proc/run", tmp_path):
        assert "there is no checkpoint" in refused(train, "--resume", "--output", output)
    assert "must name a file or folder, not be empty" in refused(train, *TINY, "--output", "")
    assert file.read_text() == "mine" and os.listdir(tmp_path) == ["file"]


def test_it_shows_progress_and_result(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(train, *TINY, "--output", "run")
    assert (status, err) == (0, "")
    *progress, last = out.splitlines()
    assert [line.split()[1] for line in progress] == ["2/6", "4/6", "6/6"]
    assert last.startswith("accuracy 0.") and last.endswith("after 6 updates; run in run")
    assert sorted(os.listdir(tmp_path / "run")) == [".lock", "checkpoint.pt", "config.json", "metrics.csv"]


# The result

@pytest.mark.parametrize("flags", [
    [], ["--model_type", "PeepLSTM", "--forget_bias", 1, "--dataset", "binary_palindrome", "--input_length", 2]])
def test_train_returns_and_leaves_what_it_promises(flags, tmp_path, capsys):
    result = in_process(*TINY, *flags, "--output", tmp_path / "run")
    assert capsys.readouterr() == ("", "")
    assert set(result) == {"steps", "loss", "eval_loss", "accuracy", "best_accuracy", "steps_to_target", "seconds",
                           "folder"}
    rows = files.read_csv(tmp_path / "run" / "metrics.csv")
    assert list(rows[0]) == ["step", "loss", "eval_loss", "accuracy", "seconds"]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert result["steps"] == 6 and result["steps_to_target"] is None and result["folder"] == str(tmp_path / "run")
    for name in ("loss", "eval_loss", "accuracy", "seconds"):
        assert result[name] == rows[-1][name]
    assert result["best_accuracy"] == max(row["accuracy"] for row in rows)

    config = files.read_json(tmp_path / "run" / "config.json")
    flags = vars(train.parse_args([str(flag) for flag in [*TINY, *flags]]))
    assert config == {"script": "part1.train", **{name: flags[name] for name in config if name != "script"}}
    assert set(flags) - set(config) == {"typed", "output", "resume"}


def test_the_checkpoints_network_has_the_accuracy_of_the_last_row(tmp_path):
    result = in_process(*TINY, "--eval_size", 500, "--output", tmp_path / "run")
    config = train.parse_args([str(flag) for flag in TINY])
    model = train.make_model(config)
    model.load_state_dict(run.load_checkpoint(tmp_path / "run" / "checkpoint.pt", "part1.train")["parts"]["model"])
    dataset = train.make_dataset(config.dataset, config.input_length)
    digits, labels = dataset.batch(500, run.generator(config.seed, "evaluation data"))
    with torch.no_grad():
        logits = model(digits)
    assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(result["accuracy"], abs=1e-9)
    assert torch.nn.functional.cross_entropy(logits, labels).item() == pytest.approx(result["eval_loss"], rel=1e-5)


def test_evaluate_counts_across_its_chunks():
    digits = torch.arange(2500) % 10

    def model(some):
        return torch.nn.functional.one_hot(some, 10) * 3.0

    loss, accuracy = train.evaluate(model, digits, torch.where(torch.arange(2500) < 2400, digits, (digits + 1) % 10))
    assert accuracy == 0.96
    sure = torch.tensor([3.0] + [0.0] * 9).logsumexp(0)
    assert loss == pytest.approx((0.96 * (sure - 3) + 0.04 * sure).item(), rel=1e-5)


def test_the_optimizer_is_the_one_that_was_named():
    for name, expected in (("rmsprop", torch.optim.RMSprop), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)):
        config = train.parse_args(["--optimizer", name, "--learning_rate", "0.25", "--momentum", "0.75"])
        optimizer = train.make_optimizer(config, [torch.nn.Parameter(torch.zeros(1))])
        assert type(optimizer) is expected and optimizer.defaults["lr"] == 0.25
        assert name != "sgd" or optimizer.defaults["momentum"] == 0.75


def test_the_gradient_is_clipped_before_the_update(tmp_path, monkeypatch):
    norms, step = [], torch.optim.SGD.step

    def note(self, *args):
        gradients = [parameter.grad.flatten() for group in self.param_groups for parameter in group["params"]]
        norms.append(torch.cat(gradients).norm().item())
        return step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", note)
    in_process(*TINY, "--optimizer", "sgd", "--max_norm", 1e-3, "--output", tmp_path / "run")
    assert norms == pytest.approx([1e-3] * 6, rel=1e-2)


def test_every_batch_is_fresh_and_none_is_the_evaluation_set_which_stays(tmp_path, monkeypatch):
    batch, drawn = PalindromeDataset.batch, []
    monkeypatch.setattr(PalindromeDataset, "batch", lambda *args: drawn.append(batch(*args)) or drawn[-1])
    in_process(*TINY, "--batch_size", 20, "--output", tmp_path)
    assert len({tuple(digits.flatten().tolist()) for digits, _ in drawn}) == len(drawn) == 1 + 6


# Early stopping and learning

@pytest.mark.parametrize("accuracies, target, stops_at", [
    ([0.9, 0.95, 0.99, 0.98, 0.99, 1.0, 1.0], 0.99, 12), ([1.0, 1.0, 1.0], 0.99, 4), ([0.5, 0.8, 0.8, 1.0], 0.8, 6),
    ([1.0, 0.9] * 4, 0.99, None), ([1.0] * 8, None, None), ([0.0] * 7 + [1.0], 0.9, None)])
def test_it_stops_at_the_second_evaluation_in_a_row_that_reaches_the_target(accuracies, target, stops_at, tmp_path,
                                                                            monkeypatch):
    scripted = iter(accuracies + [0.0] * 8)
    monkeypatch.setattr(train, "evaluate", lambda *args: (1.0, next(scripted)))
    target = [] if target is None else ["--target_accuracy", target]
    result = in_process(*TINY, "--train_steps", 16, *target, "--output", tmp_path / "run")
    assert result["steps"] == (stops_at or 16) and result["steps_to_target"] == stops_at
    rows = files.read_csv(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows] == list(range(2, result["steps"] + 1, 2))


@pytest.mark.parametrize("flags", [
    ["--model_type", "RNN"],  # the assignment's own setting
    *(["--model_type", name, "--input_dim", 10, "--num_hidden", 64, "--optimizer", "adam", "--learning_rate", 3e-3, *bias]
      for name, bias in {"LSTM": ["--forget_bias", "chrono"], "PeepLSTM": ["--forget_bias", "chrono"],
                         "GRU": [], "BiLSTM": ["--forget_bias", "chrono"]}.items())])  # every network of both editions
def test_palindromes_of_length_five_are_learned(flags, tmp_path):
    result = in_process(*flags, "--input_length", 4, "--train_steps", 3000, "--eval_every", 50, "--eval_size", 1000,
                        "--target_accuracy", 0.99, "--device", "cpu", "--output", tmp_path / "run")
    assert result["best_accuracy"] >= 0.99 and result["steps_to_target"] == result["steps"] <= 3000


# Optimizers and initial weights

def test_adam_without_momentum_is_rmsprop_with_its_bias_corrected():
    """torch's RMSProp takes the same steps at the rate 0.01 sqrt(1 - 0.99^t); its own first step is 0.1."""
    weights = [torch.nn.Parameter(torch.zeros(3, dtype=torch.float64)) for _ in range(2)]
    flags = ["--learning_rate", "0.01", "--beta1", "0", "--beta2", "0.99", "--optimizer"]
    corrected, plain = (train.make_optimizer(train.parse_args([*flags, name]), [weight])
                        for name, weight in zip(("adam", "rmsprop"), weights))
    generator = torch.Generator().manual_seed(0)
    for t in range(1, 30):
        gradient = torch.randn(3, generator=generator, dtype=torch.float64)
        plain.param_groups[0]["lr"] = 0.01 * (1 - 0.99**t) ** 0.5
        for weight, optimizer in zip(weights, (corrected, plain)):
            weight.grad = gradient.clone()
            optimizer.step()
        torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-9)
        assert t > 1 or torch.allclose(weights[0].abs(), torch.tensor(0.01, dtype=torch.float64), rtol=1e-5)


def test_a_frozen_recurrence_stays_and_the_output_learns(tmp_path):
    in_process(*TINY, "--freeze_recurrent", "--output", tmp_path / "frozen")
    trained = run.load_checkpoint(tmp_path / "frozen" / "checkpoint.pt", train.SCRIPT)["parts"]["model"]
    torch.manual_seed(0)
    start = train.make_model(train.parse_args([str(flag) for flag in TINY])).state_dict()
    assert {name for name in start if not start[name].equal(trained[name])} == {"W_ph", "b_p"}
    assert in_process("--output", tmp_path / "frozen", "--resume", "--train_steps", 8)["steps"] == 8


def test_a_latch_learns_a_hundred_digits_at_once(tmp_path):
    result = in_process("--init", "latch", "--input_length", 99, "--batch_size", 32, "--train_steps", 50,
                        "--eval_every", 50, "--eval_size", 300, "--output", tmp_path)
    assert result["accuracy"] > 0.95


def test_the_flag_chooses_the_backward_pass(tmp_path, monkeypatch):
    losses = []
    for backward in ("bptt", "autograd"):
        losses.append(in_process(*TINY, "--backward", backward, "--output", tmp_path / backward)["loss"])
        monkeypatch.setattr(bptt, "last_hidden", None)  # autograd can do without
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
