"""The network against nn.LSTM and a linear layer, and against its equations."""
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from part2.model import TextGenerationModel


def test_the_network_is_an_lstm_and_a_linear_layer(make):
    model = make(layers=3)
    lstm, linear = nn.LSTM(7, 9, 3, batch_first=True).double(), nn.Linear(9, 7).double()
    own = dict(model.named_parameters())
    assert {name.split(".")[0] for name in own} == {"lstm", "linear"}
    lstm.load_state_dict({name: own[f"lstm.{name}"] for name in lstm.state_dict()})
    linear.load_state_dict({name: own[f"linear.{name}"] for name in linear.state_dict()})
    x = torch.randint(7, (4, 11))
    for state in (None, tuple(torch.randn(2, 3, 4, 9, dtype=torch.float64))):
        h, expected = lstm(one_hot(x, 7).double(), state)
        logits, new = model(x, state)
        torch.testing.assert_close(logits, linear(h))
        torch.testing.assert_close(new, expected)


@pytest.mark.parametrize("batch, length", [(1, 1), (17, 9)])
def test_any_batch_and_length_is_accepted(batch, length):
    logits, (h, c) = TextGenerationModel(4, 5, 6)(torch.randint(6, (batch, length)))
    assert logits.shape == (batch, length, 6) and h.shape == c.shape == (2, batch, 256)


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_keeps_its_share_of_every_layer_in_training_alone(layers, make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nn.LSTM warns of dropout in a single layer
        model = make(hidden=600, layers=layers, keep=0.75, scale=0.1)
    x, seen = torch.zeros(1, 1, dtype=torch.int64), []
    model.linear.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert model(x)[0].equal(model(x)[0])
    model.train()(x)
    assert (seen[0] != 0).all() and (seen[2] != 0).double().mean() == pytest.approx(0.75, abs=0.08)
    hidden = [model(x)[1][0] for _ in range(2)]  # (layers, 1, 600)
    assert hidden[0][0].equal(hidden[1][0]) and hidden[0][-1].equal(hidden[1][-1]) == (layers == 1)


def test_weight_drop_leaves_out_recurrent_weights_for_a_whole_batch_in_training_alone(make):
    model = make(layers=2)
    model.recurrent_drop, x = 0.3, torch.randint(7, (4, 11))
    whole = model(x)[0]
    logits, state = model.train()(x)
    logits.square().sum().backward()
    masked = nn.LSTM(7, 9, 2, batch_first=True).double()
    masked.load_state_dict(model.lstm.state_dict())
    with torch.no_grad():
        for name in ("weight_hh_l0", "weight_hh_l1"):
            kept = model.lstm.get_parameter(name).grad != 0  # what was left out has no gradient
            masked.get_parameter(name).mul_(kept / 0.7)
            assert kept.double().mean() == pytest.approx(0.7, abs=0.1)
    h, expected = masked(one_hot(x, 7).double())
    torch.testing.assert_close(logits, model.linear(h))
    torch.testing.assert_close(state, expected)
    assert not model(x)[0].equal(logits) and model.eval()(x)[0].equal(whole)
