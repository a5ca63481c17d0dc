"""Initial weights: the statistics that each scheme promises, for every gate's matrix by itself."""
import math

import pytest
import torch

from part1.init import INITS, initialize
from part1.lstm import LSTM
from part1.peep_lstm import PeepLSTM
from part1.vanilla_rnn import VanillaRNN

NETWORKS = [VanillaRNN, LSTM, PeepLSTM]


def initialized(network_class, *args, seed=0, seq_length=30):
    network = network_class(seq_length, 10, 64, 5)
    torch.manual_seed(seed)
    initialize(network, *args)
    return network


def matrices(network):
    return [(name, parameter.detach()) for name, parameter in network.named_parameters() if name.startswith("W")]


def is_uniform_within(matrix, bound):
    """Spread over all of (-bound, bound), with the mean and variance of a uniform distribution."""
    number = matrix.numel()
    nearly = bound * (1 - 15 / number)
    return (matrix.abs().max() <= bound and matrix.max() > nearly and matrix.min() < -nearly
            and matrix.mean().abs() < 5 * bound / math.sqrt(3 * number)
            and abs(matrix.square().mean() / (bound**2 / 3) - 1) < 5 * math.sqrt(0.8 / number))


@pytest.mark.parametrize("network_class", NETWORKS)
def test_xavier_is_uniform_with_each_matrixs_own_bound(network_class):
    for name, matrix in matrices(initialized(network_class)):
        assert is_uniform_within(matrix, math.sqrt(6 / sum(matrix.shape))), name


@pytest.mark.parametrize("network_class", NETWORKS)
def test_kaiming_is_normal_with_each_matrixs_own_fan_in(network_class):
    for name, matrix in matrices(initialized(network_class, "kaiming")):
        fan_in, number = matrix.shape[1], matrix.numel()
        standard = matrix * math.sqrt(fan_in)
        assert abs(standard.mean()) < 5 / math.sqrt(number), name
        assert abs(standard.std() - 1) < 5 / math.sqrt(2 * number), name
        assert standard.abs().max() > 2, name  # no uniform distribution of this variance reaches there
        assert abs((standard**4).mean() - 3) < 5 * math.sqrt(96 / number), name


@pytest.mark.parametrize("network_class", NETWORKS)
def test_orthogonal_is_for_every_recurrent_matrix_by_itself(network_class):
    found = 0
    for name, matrix in matrices(initialized(network_class, "orthogonal")):
        if name.endswith("h") and name != "W_ph":
            torch.testing.assert_close(matrix @ matrix.T, torch.eye(64), rtol=0, atol=1e-5)
            assert matrix.trace().abs() < 8  # random, not the identity
            found += 1
        else:
            assert is_uniform_within(matrix, math.sqrt(6 / sum(matrix.shape))), name
    assert found == {VanillaRNN: 1, LSTM: 4, PeepLSTM: 3}[network_class]


def test_the_output_matrix_is_not_orthogonal_even_where_it_is_square():
    network = VanillaRNN(4, 1, 16, 16)
    initialize(network, "orthogonal")
    assert not torch.allclose(network.W_ph @ network.W_ph.T, torch.eye(16), atol=1e-2)


@pytest.mark.parametrize("scheme", INITS)
@pytest.mark.parametrize("network_class", NETWORKS)
def test_no_two_gates_share_their_weights_and_the_seed_decides(network_class, scheme):
    one, same, other = (dict(matrices(initialized(network_class, scheme, seed=seed))) for seed in (1, 1, 2))
    for name in one:
        assert one[name].equal(same[name]) and not one[name].equal(other[name])
        assert sum(one[name].equal(matrix) for matrix in one.values()) == 1


@pytest.mark.parametrize("scheme", INITS)
@pytest.mark.parametrize("network_class", NETWORKS)
def test_biases_are_zero_unless_asked(network_class, scheme):
    network = network_class(4, 10, 8, 5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7)
    initialize(network, scheme)
    biases = [parameter for name, parameter in network.named_parameters() if name.startswith("b_")]
    assert len(biases) == {VanillaRNN: 2}.get(network_class, 5)
    assert all(bias.abs().max() == 0 for bias in biases)


@pytest.mark.parametrize("network_class", [LSTM, PeepLSTM])
@pytest.mark.parametrize("value", [1.0, -2.5, 0.0])
def test_a_forget_bias_is_that_of_the_forget_gate_alone(network_class, value):
    for name, parameter in initialized(network_class, "xavier", value).named_parameters():
        if name.startswith("b_"):
            assert parameter.eq(value if name == "b_f" else 0).all(), name


@pytest.mark.parametrize("network_class", [LSTM, PeepLSTM])
@pytest.mark.parametrize("seq_length", [1, 2, 30, 500])
def test_chrono_draws_memories_up_to_the_sequences_length(network_class, seq_length):
    network = initialized(network_class, "xavier", "chrono", seq_length=seq_length)
    memories = network.b_f.detach().exp()  # uniform on 1 … T - 1
    assert memories.min() >= 1 - 1e-5 and memories.max() <= seq_length * (1 + 1e-5)
    spread = (seq_length - 1) / math.sqrt(12)
    assert abs(memories.mean() - (1 + seq_length) / 2) <= 5 * spread / 8 + 1e-5
    assert seq_length == 1 or abs(memories.std() / spread - 1) < 0.35
    assert network.b_i.equal(-network.b_f)
    for name, parameter in network.named_parameters():
        if name.startswith("b_") and name not in ("b_f", "b_i"):
            assert parameter.abs().max() == 0


def test_a_new_network_is_xavier_with_zero_biases():
    torch.manual_seed(0)
    new = LSTM(30, 10, 64, 5)
    assert is_uniform_within(new.W_gh.detach(), math.sqrt(6 / 128)) and new.b_f.abs().max() == 0


@pytest.mark.parametrize("bias", [1.0, 0.0, "chrono"])
def test_a_vanilla_rnn_has_no_forget_bias(bias):
    network = VanillaRNN(4, 1, 5, 10)
    before = network.W_hx.clone()
    with pytest.raises(ValueError, match="forget gate"):
        initialize(network, "xavier", bias)
    assert network.W_hx.equal(before)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="xavier, kaiming, orthogonal"):
        initialize(LSTM(4, 1, 5, 10), "glorot")
