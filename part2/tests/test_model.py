"""The network against nn.LSTM and a linear layer, its single steps, and checkpoints that hold none."""
import warnings

from part1 import run  # before torch, see part1/run.py
import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from part2.model import Stepper, TextGenerationModel, load


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_network_is_an_lstm_and_a_linear_layer(layers, make):
    model = make(layers=layers)
    lstm, linear = nn.LSTM(7, 9, layers, batch_first=True).double(), nn.Linear(9, 7).double()
    own = dict(model.named_parameters())
    assert {name.split(".")[0] for name in own} == {"lstm", "linear"}
    lstm.load_state_dict({name: own[f"lstm.{name}"] for name in lstm.state_dict()})
    linear.load_state_dict({name: own[f"linear.{name}"] for name in linear.state_dict()})
    x = torch.randint(7, (4, 11))
    for state in (None, tuple(torch.randn(2, layers, 4, 9, dtype=torch.float64))):
        h, expected = lstm(one_hot(x, 7).double(), state)
        logits, new = model(x, state)
        torch.testing.assert_close(logits, linear(h))
        torch.testing.assert_close(new, expected)


def test_the_equations_of_a_step(make):
    model = make(layers=1)
    W_x, W_h, b_x, b_h = model.lstm.all_weights[0]
    h, c = torch.randn(2, 1, 3, 9, dtype=torch.float64)
    characters = torch.tensor([0, 3, 6])
    i, f, g, o = (W_x[:, characters].T + h[0] @ W_h.T + b_x + b_h).chunk(4, dim=1)
    c_new = g.tanh() * i.sigmoid() + c[0] * f.sigmoid()
    h_new = c_new.tanh() * o.sigmoid()
    logits, (h_model, c_model) = model(characters.unsqueeze(1), (h, c))
    torch.testing.assert_close(h_model[0], h_new)
    torch.testing.assert_close(c_model[0], c_new)
    torch.testing.assert_close(logits[:, 0], h_new @ model.linear.weight.T + model.linear.bias)


@pytest.mark.parametrize("batch, length", [(1, 1), (1, 40), (4, 5), (17, 3)])
def test_any_batch_and_length_is_accepted(batch, length):
    model = TextGenerationModel(4, 5, 6)
    logits, (h, c) = model(torch.randint(6, (batch, length)))
    assert logits.shape == (batch, length, 6) and h.shape == c.shape == (2, batch, 256)


@pytest.mark.parametrize("cuts", [[5], [1, 4], [1, 1, 1, 1, 1], [3, 2]])
def test_state_in_and_state_out_equal_one_pass(cuts, make):
    model, x = make(), torch.randint(7, (3, 5))
    whole, last = model(x)
    pieces, state = [], None
    for piece in x.split(cuts, dim=1):
        logits, state = model(piece, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_single_steps_equal_one_pass(layers, make):
    model, x = make(layers=layers, keep=0.5), torch.randint(7, (6, 8))
    whole, _ = model(x)
    _, state = model(x[:, :2])
    stepper = Stepper(model, state)
    for t in range(2, 8):
        torch.testing.assert_close(stepper.step(x[:, t]), whole[:, t])
    torch.testing.assert_close(state, model(x[:, :2])[1])  # the caller's state is not overwritten


def test_dropout_is_for_training_alone(make):
    model, x = make(hidden=50, keep=0.5), torch.randint(7, (3, 5))
    assert model(x)[0].equal(model(x)[0])
    expected = model(x)[0]
    model.train()
    assert not model(x)[0].equal(model(x)[0])
    model.eval()
    assert model(x)[0].equal(expected)


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_keeps_the_share_it_was_told_of_every_layer(layers, make):
    model = make(hidden=600, layers=layers, keep=0.75, scale=0.1).train()
    seen = []
    model.linear.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(torch.zeros(1, 1, dtype=torch.int64))
    assert (seen[0] != 0).double().mean() == pytest.approx(0.75, abs=0.08)
    assert model.lstm.dropout == (0.25 if layers > 1 else 0)


def test_keeping_everything_is_no_dropout(make):
    model, x = make().train(), torch.randint(7, (3, 5))
    assert model(x)[0].equal(model(x)[0])


def test_one_layer_with_dropout_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextGenerationModel(4, 5, 6, 8, lstm_num_layers=1, dropout_keep_prob=0.5)


def test_a_character_outside_the_vocabulary_is_an_error(make):
    with pytest.raises(RuntimeError):
        make()(torch.tensor([[7]]))


# Checkpoints

def test_a_checkpoint_holds_the_network_and_its_vocabulary(finished, book):
    model, vocabulary = load(finished / "checkpoint.pt")
    assert vocabulary.characters == "".join(sorted(set(book.read_text())))
    assert not model.training and model.lstm.hidden_size == 6 and model.linear.out_features == vocabulary.vocab_size
    saved = run.load_checkpoint(finished / "checkpoint.pt", "part2.train_text")["parts"]["model"]
    assert all(parameter.equal(saved[name]) for name, parameter in model.state_dict().items())


def damage(finished, tmp_path, change):
    checkpoint = run.load_checkpoint(finished / "checkpoint.pt", "part2.train_text")
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt"


@pytest.mark.parametrize("change", [
    lambda c: c["extra"].pop("vocabulary"), lambda c: c.update(extra=None), lambda c: c["config"].clear(),
    lambda c: c["parts"].pop("model"), lambda c: c["parts"]["model"].popitem(),
    lambda c: c["config"].update(lstm_num_hidden=7), lambda c: c["extra"].update(vocabulary="abc")])
def test_a_checkpoint_without_a_text_model_is_refused(change, finished, tmp_path):
    path = damage(finished, tmp_path, change)
    with pytest.raises(ValueError, match="checkpoint.pt does not hold a text model: ") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_script_is_refused(finished, tmp_path):
    path = damage(finished, tmp_path, lambda c: c.update(script="part1.train"))
    with pytest.raises(ValueError, match="is a checkpoint of part1.train, not of part2.train_text"):
        load(path)
    with pytest.raises(ValueError, match="there is no checkpoint"):
        load(tmp_path / "missing.pt")
