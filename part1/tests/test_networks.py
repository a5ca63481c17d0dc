"""The networks against torch's own and a plain loop over elements; their parameters, initial weights and inputs."""
import ast
import inspect
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from part1 import bptt, recurrent, train
from part1.cli import InputError
from part1.lstm import LSTM
from part1.peep_ablations import OutputPeepLSTM, RecurrentPeepLSTM, TanhPeepLSTM
from part1.peep_lstm import PeepLSTM
from part1.recurrent import INITS
from part1.vanilla_rnn import VanillaRNN

NETWORKS = list(train.MODELS.values())
GATES = {VanillaRNN: "h", LSTM: "ifgo"}  # in the order in which torch stacks them
NAMES = {
    VanillaRNN: "W_hx W_hh b_h W_ph b_p",
    LSTM: "W_gx W_gh b_g W_ix W_ih b_i W_fx W_fh b_f W_ox W_oh b_o W_ph b_p",
    PeepLSTM: "W_fx W_fh b_f W_ix W_ih b_i W_ox W_oh b_o W_cx b_c W_ph b_p",
}
each_network = pytest.mark.parametrize("network_class", NETWORKS)
with_forget_gate = pytest.mark.parametrize("network_class", [network for network in NETWORKS if "f" in network.gates])
with_latch = pytest.mark.parametrize("network_class", [network for network in NETWORKS if network.latch])
by_hand = pytest.mark.parametrize("network_class", [network for network in NETWORKS if network.fast])
both_ways = pytest.mark.parametrize("backward_pass", ["bptt", "autograd"])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def randomized(network, backward_pass="bptt"):
    """The network in double precision with every parameter, biases too, drawn large enough to matter."""
    generator = torch.Generator().manual_seed(0)
    network.backward_pass = backward_pass
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
    return network.double()


def digits_and_labels(batch, length, classes=10):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(10, (batch, length), generator=generator), torch.randint(classes, (batch,), generator=generator)


# Outputs and gradients

@both_ways
@pytest.mark.parametrize("length, input_dim", [(1, 1), (9, 1), (9, 10)])
@pytest.mark.parametrize("network_class", [VanillaRNN, LSTM])
def test_outputs_and_gradients_equal_torchs(network_class, length, input_dim, backward_pass):
    network = randomized(network_class(length, input_dim, 6, 10), backward_pass)
    gates, n, weights = GATES[network_class], 6, network.state_dict()
    cell = (nn.RNN if gates == "h" else nn.LSTM)(input_dim, n, batch_first=True).double()
    output = nn.Linear(n, 10).double()
    cell.load_state_dict({
        "weight_ih_l0": torch.cat([weights[f"W_{gate}x"] for gate in gates]),
        "weight_hh_l0": torch.cat([weights[f"W_{gate}h"] for gate in gates]),
        "bias_ih_l0": torch.cat([weights[f"b_{gate}"] for gate in gates]), "bias_hh_l0": torch.zeros(len(gates) * n)})
    output.load_state_dict({"weight": weights["W_ph"], "bias": weights["b_p"]})

    digits, labels = digits_and_labels(5, length)
    x = digits[..., None].double() if input_dim == 1 else nn.functional.one_hot(digits, 10).double()
    ours, theirs = network(digits.float()), output(cell(x)[0][:, -1])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    cross_entropy(ours, labels).backward()
    cross_entropy(theirs, labels).backward()
    expected = {"W_ph": output.weight.grad, "b_p": output.bias.grad}
    for k, gate in enumerate(gates):
        rows = slice(k * n, (k + 1) * n)
        expected |= {f"W_{gate}x": cell.weight_ih_l0.grad[rows], f"W_{gate}h": cell.weight_hh_l0.grad[rows],
                     f"b_{gate}": cell.bias_ih_l0.grad[rows]}
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=0, atol=1e-12, msg=name)


def peephole_by_elements(network, digits, undone=None):
    """Logits of the peephole LSTM for one sequence of digits, with nothing but floats and loops.

    One of its differences from the LSTM may be undone: "tanh" of the candidate, "h in the candidate", "h in the gates".
    """
    weights = {name: parameter.tolist() for name, parameter in network.named_parameters()}
    n, d = network.num_hidden, network.input_dim

    def gate(name, x, h, c, j):
        total = weights[f"b_{name}"][j] + sum(weights[f"W_{name}x"][j][k] * x[k] for k in range(d))
        if name != "c" or undone == "h in the candidate":
            seen = h if name == "c" or undone == "h in the gates" else c
            total += sum(weights[f"W_{name}h"][j][k] * seen[k] for k in range(n))
        return math.tanh(total) if name == "c" and undone == "tanh" else 1 / (1 + math.exp(-total))

    c = h = [0.0] * n
    for digit in digits:
        x = [digit] if d == 1 else [float(k == digit) for k in range(d)]
        f, i, o, candidate = ([gate(name, x, h, c, j) for j in range(n)] for name in "fioc")
        c = [candidate[j] * i[j] + c[j] * f[j] for j in range(n)]
        h = [math.tanh(c[j]) * o[j] for j in range(n)]
    return [weights["b_p"][k] + sum(weights["W_ph"][k][j] * h[j] for j in range(n)) for k in range(len(weights["b_p"]))]


@both_ways
@pytest.mark.parametrize("input_dim", [1, 4])
@pytest.mark.parametrize("network_class, undone", [
    (PeepLSTM, None), (TanhPeepLSTM, "tanh"), (RecurrentPeepLSTM, "h in the candidate"),
    (OutputPeepLSTM, "h in the gates")])
def test_the_peephole_lstm_and_its_ablations_equal_a_loop_over_elements(network_class, undone, input_dim, backward_pass):
    network = randomized(network_class(6, input_dim, 5, 3), backward_pass)
    digits = [[0, 3, 1, 2, 2, 1], [3, 3, 0, 0, 1, 2]]
    expected = [peephole_by_elements(network, row, undone) for row in digits]
    torch.testing.assert_close(network(torch.tensor(digits)), torch.tensor(expected, dtype=torch.float64),
                               rtol=0, atol=1e-12)


@pytest.mark.parametrize("network_class", [VanillaRNN, LSTM, PeepLSTM])
@pytest.mark.parametrize("batch, length, input_dim, num_hidden", [(3, 5, 3, 4), (1, 1, 1, 1), (5, 7, 3, 1)])
def test_derivatives_are_difference_quotients(network_class, batch, length, input_dim, num_hidden):
    network = randomized(network_class(length, input_dim, num_hidden, 2))
    weights = dict(network.named_parameters())
    x = torch.randn(batch, length, input_dim, dtype=torch.float64)

    def logits(*values):
        return torch.func.functional_call(network, dict(zip(weights, values)), x)

    assert torch.autograd.gradcheck(logits, tuple(weights.values()))


def gradients(network, x, labels, backward_pass):
    network.backward_pass = backward_pass
    loss = cross_entropy(network(x), labels)
    return [loss.detach(), *torch.autograd.grad(loss, list(network.parameters()))]


@by_hand
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("batch, length, input_dim, num_hidden", [(128, 29, 10, 128), (33, 17, 1, 65), (0, 3, 10, 7)])
def test_both_backward_passes_agree(network_class, dtype, tolerance, batch, length, input_dim, num_hidden):
    network = network_class(length, input_dim, num_hidden, 10).to(dtype)
    x, labels = digits_and_labels(batch, length)
    for ours, reference in zip(*(gradients(network, x, labels, way) for way in ("bptt", "autograd"))):
        assert (ours - reference).norm() <= tolerance * reference.norm() or batch == 0 and not ours.nan_to_num().any()


@by_hand
def test_a_network_may_be_used_twice_in_a_graph_that_is_walked_twice(network_class):
    network, found = randomized(network_class(5, 3, 4, 2)), {}
    first, second = torch.randn(2, 3, 5, 3, dtype=torch.float64)
    for network.backward_pass in ("autograd", "bptt"):
        loss = (network(first).sin() * network(second) + network(first[:2]).sum()).sum()
        network.zero_grad()
        loss.backward(retain_graph=True)
        network(second).sum()
        loss.backward()
        found[network.backward_pass] = [parameter.grad for parameter in network.parameters()]
    torch.testing.assert_close(found["bptt"], found["autograd"], rtol=1e-10, atol=1e-10)


@by_hand
def test_changing_the_cell_before_the_backward_pass_changes_no_gradient(network_class):
    network = randomized(network_class(5, 3, 4, 2))
    x, parameters = torch.randn(3, 5, 3, dtype=torch.float64), list(network.parameters())
    expected = torch.autograd.grad(network(x).sum(), parameters)
    loss = network(x).sum()
    with torch.no_grad():
        for parameter in parameters[:-2]:  # all but the output's, which are autograd's to guard
            parameter.zero_()
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), expected, rtol=0, atol=0)


@each_network
def test_without_gradients_the_outputs_are_the_same(network_class):
    network = randomized(network_class(7, 3, 4, 2))
    x = torch.randn(3, 7, 3, dtype=torch.float64)
    expected = network(x)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=0)
    assert not network.requires_grad_(False)(x).requires_grad


@each_network
def test_inputs_and_only_some_weights_may_want_a_gradient(network_class):
    network = randomized(network_class(5, 3, 4, 2))
    x = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    x_gradient, = torch.autograd.grad(network(x).sum(), x)
    assert x_gradient.abs().min() > 0
    network.zero_grad()
    network(x.detach()).sum().backward()
    expected = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    for frozen, parameter in network.named_parameters():
        network.zero_grad()
        parameter.requires_grad_(False)
        network(x.detach()).sum().backward()
        parameter.requires_grad_(True)
        for name, other in network.named_parameters():
            assert other.grad is None if name == frozen else other.grad.allclose(expected[name], rtol=1e-12), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@by_hand
def test_both_backward_passes_agree_on_a_gpu(network_class):
    network = randomized(network_class(17, 10, 65, 10)).cuda()
    x, labels = (tensor.cuda() for tensor in digits_and_labels(33, 17))
    torch.testing.assert_close(*(gradients(network, x, labels, way) for way in ("bptt", "autograd")))


# Parameters

@pytest.mark.parametrize("network_class", NAMES)
def test_parameters_have_the_equations_names_order_and_shapes(network_class):
    d, n, classes = 3, 5, 7
    shapes = {"W_ph": (classes, n), "b_p": (classes,)}
    shapes |= {name: (n,) if name[0] == "b" else (n, d) if name[-1] == "x" else (n, n)
               for name in NAMES[network_class].split() if name not in shapes}
    network = network_class(4, d, n, classes)
    found = dict(network.named_parameters())
    assert list(found) == list(network.state_dict()) == NAMES[network_class].split()
    assert {name: tuple(parameter.shape) for name, parameter in found.items()} == shapes
    assert len({parameter.data_ptr() for parameter in found.values()}) == len(found)
    assert list(network.modules()) == [network]


@pytest.mark.parametrize("d, n", [(1, 128), (10, 6)])
@pytest.mark.parametrize("network_class, count", [
    (VanillaRNN, lambda n, d: n * d + n * n + n), (LSTM, lambda n, d: 4 * (n * d + n * n + n)),
    (PeepLSTM, lambda n, d: 4 * n * d + 3 * n * n + 4 * n)])
def test_the_cell_has_as_many_parameters_as_the_assignment_counts(network_class, count, d, n):
    network = network_class(4, d, n, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == count(n, d) + 10 * n + 10


@pytest.mark.parametrize("module", [recurrent, bptt, *map(inspect.getmodule, NETWORKS)])
def test_the_source_names_no_layer_of_torch(module):
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name.startswith(("torch.nn.", "nn.")):
                assert name.removeprefix("torch.") in ("nn.Module", "nn.Parameter") or ".init" in name, name
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            assert (node.module, node.names[0].name) in {("torch", "nn"), ("torch.autograd.function",
                                                                          "once_differentiable")}


# Initial weights

def initialized(network_class, *args, seed=0, seq_length=30):
    network = network_class(seq_length, 10, 64, 5)
    torch.manual_seed(seed)
    network.initialize(*args)
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def is_uniform_within(matrix, bound):
    """Spread over all of (-bound, bound), with the mean and variance of a uniform distribution."""
    number = matrix.numel()
    nearly = bound * (1 - 15 / number)
    return (matrix.abs().max() <= bound and matrix.max() > nearly and matrix.min() < -nearly
            and matrix.mean().abs() < 5 * bound / math.sqrt(3 * number)
            and abs(matrix.square().mean() / (bound**2 / 3) - 1) < 5 * math.sqrt(0.8 / number))


@pytest.mark.parametrize("scheme", [scheme for scheme in INITS if scheme != "latch"])
@each_network
def test_initial_weights_have_the_distribution_of_their_scheme(network_class, scheme):
    torch.manual_seed(0)
    weights = initialized(network_class, scheme)
    for name, weight in weights.items():
        if name[0] == "b":
            assert not weight.any()
            continue
        assert sum(weight.equal(other) for other in weights.values()) == 1  # no two gates share theirs
        number = weight.numel()
        if scheme == "kaiming":
            standard = weight * math.sqrt(weight.shape[1])
            assert abs(standard.mean()) < 5 / math.sqrt(number) and abs(standard.std() - 1) < 5 / math.sqrt(2 * number)
            assert abs((standard**4).mean() - 3) < 5 * math.sqrt(96 / number)  # normal: no other has this kurtosis
        elif scheme == "orthogonal" and name[3] == "h" and name != "W_ph":
            torch.testing.assert_close(weight @ weight.T, torch.eye(64), rtol=0, atol=1e-5)
            assert weight.trace().abs() < 8  # random, not the identity
        else:
            assert is_uniform_within(weight, math.sqrt(6 / sum(weight.shape))), name
    assert weights["W_ph"].equal(initialized(network_class, scheme)["W_ph"])
    assert not weights["W_ph"].equal(initialized(network_class, scheme, seed=1)["W_ph"])


@with_forget_gate
@pytest.mark.parametrize("value", [1.0, -2.5, 0.0])
def test_a_forget_bias_is_that_of_the_forget_gate_alone(network_class, value):
    for name, weight in initialized(network_class, "xavier", value).items():
        if name[0] == "b":
            assert weight.eq(value if name[:3] == "b_f" else 0).all(), name


@with_forget_gate
@pytest.mark.parametrize("seq_length", [1, 2, 30, 500])
def test_chrono_draws_memories_up_to_the_sequences_length(network_class, seq_length):
    weights = initialized(network_class, "xavier", "chrono", seq_length=seq_length)
    for direction in network_class.directions:
        memories = weights["b_f" + direction].exp()  # uniform on 1 … T - 1
        assert memories.min() >= 1 - 1e-5 and memories.max() <= seq_length * (1 + 1e-5)
        spread = (seq_length - 1) / math.sqrt(12)
        assert abs(memories.mean() - (1 + seq_length) / 2) <= 5 * spread / 8 + 1e-5
        assert seq_length == 1 or abs(memories.std() / spread - 1) < 0.35
        assert weights["b_i" + direction].equal(-weights["b_f" + direction])
        assert not weights["b_o" + direction].any()


@with_latch
@pytest.mark.parametrize("input_dim", [1, 10])
def test_a_latch_holds_the_first_digit(network_class, input_dim):
    """A linear readout of the last state, fitted to some sequences, names the first digit of others."""
    network = network_class(100, input_dim, 64, 10)
    network.initialize("latch")
    digits = torch.randint(10, (700, 100))
    with torch.no_grad():
        for h, *_ in network.states(digits):
            pass
    inputs, labels = torch.cat([h, torch.ones(700, 1)], dim=1).double(), nn.functional.one_hot(digits[:, 0]).double()
    weights = torch.linalg.lstsq(inputs[:500], labels[:500], driver="gelsd").solution
    assert ((inputs[500:] @ weights).argmax(dim=1) == digits[500:, 0]).float().mean() > 0.95


@pytest.mark.parametrize("u, flips", [(13.35, False), (13.45, True)])  # the docstring's bound is 13.4
def test_a_latched_rnn_unit_flips_beyond_its_bound(u, flips):
    network = VanillaRNN(1, 1, 1, 2)
    network.initialize("latch")
    h = torch.tensor([[-1.0]])
    with torch.no_grad():
        network.b_h.fill_(u)
        for _ in range(1000):
            h, = network.step(torch.zeros(1, 1), h)
    assert (h.item() > 0) == flips


@pytest.mark.parametrize("u, flips", [(21.8, False), (21.95, True)])  # the docstring's bound is 21.9
def test_a_latched_lstm_memory_flips_beyond_its_bound(u, flips):
    network = LSTM(1, 1, 1, 2)
    network.initialize("latch")
    h, c = torch.tensor([[-0.38]]), torch.tensor([[-1.0]])
    with torch.no_grad():
        network.b_g.fill_(u)
        for _ in range(1000):
            h, c = network.step(torch.zeros(1, 1), h, c)
    assert (c.item() > 0) == flips


@pytest.mark.parametrize("network_class, args, words", [
    (VanillaRNN, ("xavier", 1.0), "forget gate"), (VanillaRNN, ("glorot",), "xavier, kaiming, orthogonal, latch"),
    (LSTM, ("latch", "chrono"), "all biases")])
def test_wrong_initializations_are_refused_before_a_weight_is_drawn(network_class, args, words):
    network = network_class(4, 1, 5, 10)
    before = network.W_ph.clone()
    with pytest.raises(InputError, match=words):
        network.initialize(*args)
    assert network.W_ph.equal(before)


# What a network reads

@both_ways
def test_digits_come_in_several_shapes_types_and_memory_layouts(backward_pass):
    digits = torch.tensor([[1, 2, 3, 5], [0, 0, 4, 1]])
    strided = torch.zeros(2, 8, dtype=torch.int64)
    strided[:, ::2] = digits
    for network_class in NETWORKS:
        for input_dim, vectors in ((1, digits[..., None].double()), (6, nn.functional.one_hot(digits, 6).double())):
            network = randomized(network_class(4, input_dim, 5, 10), backward_pass)
            expected = network(vectors)
            for same in (digits, digits[..., None], digits.float(), digits.to(torch.uint8), digits.T.contiguous().T,
                         strided[:, ::2]):
                torch.testing.assert_close(network(same), expected, rtol=0, atol=1e-12)
            torch.testing.assert_close(network(digits[:1]), expected[:1], rtol=0, atol=1e-12)  # rows stand alone
            assert not network(vectors * 0.3).allclose(expected)


@pytest.mark.parametrize("input_dim, shape", [
    (1, (2, 3)), (1, (2, 5)), (1, (2, 5, 1)), (1, (4,)), (1, (2, 4, 2)), (1, (2, 4, 1, 1)), (1, (2, 0)),
    (6, (2, 3)), (6, (2, 5, 6)), (6, (2, 4, 5)), (6, (4,))])
def test_inputs_of_another_shape_are_refused(input_dim, shape):
    with pytest.raises(InputError, match="inputs"):
        LSTM(4, input_dim, 5, 10)(torch.ones(shape))


@pytest.mark.parametrize("digit", [-1, 6, 2.5, math.nan, math.inf])
def test_a_digit_without_a_one_hot_vector_is_refused(digit):
    with pytest.raises(InputError, match="0 … 5"):
        LSTM(4, 6, 5, 10)(torch.tensor([[1, 2, 3, 5], [0, digit, 4, 1]]))


@pytest.mark.parametrize("wrong", ["seq_length", "input_dim", "num_hidden", "num_classes"])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(InputError, match=wrong):
        LSTM(**dict(seq_length=4, input_dim=1, num_hidden=5, num_classes=10) | {wrong: 0})
