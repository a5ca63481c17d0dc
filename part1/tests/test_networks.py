"""The three networks against torch's own and against a plain loop over elements; their parameters and their inputs."""
import ast
import inspect
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from part1 import lstm, peep_lstm, recurrent, vanilla_rnn
from part1.lstm import LSTM
from part1.peep_lstm import PeepLSTM
from part1.vanilla_rnn import VanillaRNN

NETWORKS = [VanillaRNN, LSTM, PeepLSTM]
GATES = {VanillaRNN: "h", LSTM: "ifgo"}  # in the order in which torch stacks them
NAMES = {
    VanillaRNN: "W_hx W_hh b_h W_ph b_p",
    LSTM: "W_gx W_gh b_g W_ix W_ih b_i W_fx W_fh b_f W_ox W_oh b_o W_ph b_p",
    PeepLSTM: "W_fx W_fh b_f W_ix W_ih b_i W_ox W_oh b_o W_cx b_c W_ph b_p",
}


@pytest.fixture(autouse=True, params=["bptt", "autograd"])
def backward_pass(request, monkeypatch):
    """Every test here is one of the hand-written derivatives and one of the plain loop of `step`."""
    monkeypatch.setattr(recurrent.RecurrentNetwork, "backward_pass", request.param)


def randomized(network, seed=0):
    """The network with every parameter, biases too, drawn large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
    return network


def torch_twin(network):
    """torch's own network with the weights of `network`: (cell, output layer)."""
    gates = GATES[type(network)]
    cell = (nn.RNN if gates == "h" else nn.LSTM)(network.input_dim, network.num_hidden, batch_first=True)
    output = nn.Linear(network.num_hidden, len(network.b_p))
    weights = network.state_dict()
    cell.load_state_dict({
        "weight_ih_l0": torch.cat([weights[f"W_{gate}x"] for gate in gates]),
        "weight_hh_l0": torch.cat([weights[f"W_{gate}h"] for gate in gates]),
        "bias_ih_l0": torch.cat([weights[f"b_{gate}"] for gate in gates]),
        "bias_hh_l0": torch.zeros(len(gates) * network.num_hidden)})
    output.load_state_dict({"weight": weights["W_ph"], "bias": weights["b_p"]})
    dtype = network.W_ph.dtype
    return cell.to(dtype), output.to(dtype)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("length, input_dim", [(1, 1), (9, 1), (9, 10)])
@pytest.mark.parametrize("network_class", [VanillaRNN, LSTM])
def test_outputs_and_gradients_equal_torchs(network_class, length, input_dim, dtype, tolerance):
    network = randomized(network_class(length, input_dim, 6, 10)).to(dtype)
    cell, output = torch_twin(network)
    digits = torch.randint(10, (5, length), generator=torch.Generator().manual_seed(1))
    labels = torch.arange(5)
    x = digits[..., None].to(dtype) if input_dim == 1 else nn.functional.one_hot(digits, 10).to(dtype)
    ours, theirs = network(digits.float()), output(cell(x)[0][:, -1])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)

    cross_entropy(ours, labels).backward()
    cross_entropy(theirs, labels).backward()
    gates, n = GATES[network_class], network.num_hidden
    for k, gate in enumerate(gates):
        rows = slice(k * n, (k + 1) * n)
        for ours, theirs in ((f"W_{gate}x", cell.weight_ih_l0), (f"W_{gate}h", cell.weight_hh_l0),
                             (f"b_{gate}", cell.bias_ih_l0)):
            torch.testing.assert_close(getattr(network, ours).grad, theirs.grad[rows], rtol=0, atol=tolerance)
    torch.testing.assert_close(network.W_ph.grad, output.weight.grad, rtol=0, atol=tolerance)
    torch.testing.assert_close(network.b_p.grad, output.bias.grad, rtol=0, atol=tolerance)


def peephole_by_elements(network, digits):
    """Logits of the peephole LSTM for one sequence of digits, with nothing but floats and loops."""
    weights = {name: parameter.tolist() for name, parameter in network.named_parameters()}
    n, d = network.num_hidden, network.input_dim
    def sigmoid(value):
        return 1 / (1 + math.exp(-value))

    def gate(name, x, c, j):
        total = weights[f"b_{name}"][j] + sum(weights[f"W_{name}x"][j][k] * x[k] for k in range(d))
        if name != "c":
            total += sum(weights[f"W_{name}h"][j][k] * c[k] for k in range(n))
        return sigmoid(total)

    c = h = [0.0] * n
    for digit in digits:
        x = [digit] if d == 1 else [float(k == digit) for k in range(d)]
        f, i, o, candidate = ([gate(name, x, c, j) for j in range(n)] for name in "fioc")
        c = [candidate[j] * i[j] + c[j] * f[j] for j in range(n)]
        h = [math.tanh(c[j]) * o[j] for j in range(n)]
    return [weights["b_p"][k] + sum(weights["W_ph"][k][j] * h[j] for j in range(n)) for k in range(len(weights["b_p"]))]


@pytest.mark.parametrize("input_dim", [1, 4])
def test_the_peephole_lstm_equals_a_loop_over_elements(input_dim):
    network = randomized(PeepLSTM(6, input_dim, 5, 3)).double()
    digits = [[0, 3, 1, 2, 2, 1], [3, 3, 0, 0, 1, 2]]
    expected = [peephole_by_elements(network, row) for row in digits]
    torch.testing.assert_close(network(torch.tensor(digits)), torch.tensor(expected, dtype=torch.float64),
                               rtol=0, atol=1e-12)


@pytest.mark.parametrize("input_dim", [1, 4])
def test_gradients_of_the_peephole_lstm_are_difference_quotients(input_dim):
    network = randomized(PeepLSTM(5, input_dim, 4, 3)).double()
    digits, labels = torch.tensor([[0, 3, 1, 2, 2], [1, 1, 0, 3, 2]]), torch.tensor([2, 0])
    cross_entropy(network(digits), labels).backward()
    step = 1e-5
    for name, parameter in network.named_parameters():
        flat, found = parameter.data.view(-1), parameter.grad.view(-1)
        for k in range(len(flat)):
            losses = []
            for sign in (1, -1):
                flat[k] += sign * step
                losses.append(cross_entropy(network(digits), labels).item())
                flat[k] -= sign * step
            assert found[k].item() == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=1e-8), name


@pytest.mark.parametrize("network_class", NETWORKS)
def test_parameters_have_the_equations_names_order_and_shapes(network_class):
    d, n, classes = 3, 5, 7
    shapes = {"x": (n, d), "h": (n, n)}
    expected = []
    for name in NAMES[network_class].split():
        expected.append((name, (classes, n) if name == "W_ph" else (classes,) if name == "b_p" else
                         (n,) if name.startswith("b_") else shapes[name[-1]]))
    network = network_class(4, d, n, classes)
    found = list(network.named_parameters())
    assert [(name, tuple(parameter.shape)) for name, parameter in found] == expected
    assert all(type(parameter) is nn.Parameter and parameter.requires_grad for _, parameter in found)
    assert list(network.state_dict()) == NAMES[network_class].split()
    assert len({parameter.data_ptr() for _, parameter in found}) == len(found)


@pytest.mark.parametrize("d, n", [(1, 128), (10, 6)])
@pytest.mark.parametrize("network_class, count", [
    (VanillaRNN, lambda n, d: n * d + n * n + n), (LSTM, lambda n, d: 4 * (n * d + n * n + n)),
    (PeepLSTM, lambda n, d: 4 * n * d + 3 * n * n + 4 * n)])
def test_the_cell_has_as_many_parameters_as_the_assignment_counts(network_class, count, d, n):
    network = network_class(4, d, n, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == count(n, d) + 10 * n + 10


@pytest.mark.parametrize("network_class", NETWORKS)
def test_the_module_tree_holds_no_layer_of_torch(network_class):
    network = network_class(4, 10, 5, 10)
    assert list(network.modules()) == [network]
    assert isinstance(network, nn.Module)


@pytest.mark.parametrize("module", [recurrent, vanilla_rnn, lstm, peep_lstm])
def test_the_source_names_no_layer_of_torch(module):
    allowed = {"nn.Module", "nn.Parameter"}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            for prefix in ("torch.nn.", "nn."):
                assert not name.startswith(prefix) or f"nn.{name.removeprefix(prefix)}" in allowed, name
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            assert (node.module, [alias.name for alias in node.names]) == ("torch", ["nn"])
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} == {"torch"} or "torch" not in ast.unparse(node)


# What a network reads

@pytest.mark.parametrize("network_class", NETWORKS)
def test_raw_digits_may_have_a_last_dimension_and_any_type(network_class):
    network = randomized(network_class(4, 1, 5, 10))
    digits = torch.tensor([[1, 2, 3, 9], [0, 0, 7, 1]])
    expected = network(digits.float())
    assert expected.shape == (2, 10) and expected.dtype == torch.float32
    for same in (digits, digits[..., None], digits[..., None].float(), digits.double(), digits.to(torch.uint8)):
        assert network(same).equal(expected)


@pytest.mark.parametrize("network_class", NETWORKS)
def test_digits_become_one_hot_and_vectors_are_taken_as_they_are(network_class):
    network = randomized(network_class(4, 6, 5, 10))
    digits = torch.tensor([[1, 2, 3, 5], [0, 0, 4, 1]])
    vectors = nn.functional.one_hot(digits, 6).float()
    expected = network(vectors)
    for same in (digits, digits.float(), digits[..., None], digits[..., None].double()):
        assert network(same).equal(expected)
    assert not network(2 * vectors).allclose(expected)
    assert not network(torch.full((2, 4, 6), 0.3)).allclose(expected)


@pytest.mark.parametrize("network_class", NETWORKS)
def test_a_one_hot_input_picks_columns_of_the_input_matrix(network_class):
    network = randomized(network_class(1, 3, 5, 2))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("x"):
                parameter[:, 1] = parameter[:, 2]
    outputs = network(torch.tensor([[0], [1], [2]]))
    assert outputs[1].equal(outputs[2]) and not outputs[0].allclose(outputs[1])


@pytest.mark.parametrize("network_class", NETWORKS)
@pytest.mark.parametrize("input_dim, shape", [
    (1, (2, 3)), (1, (2, 5)), (1, (2, 5, 1)), (1, (4,)), (1, (2, 4, 2)), (1, (2, 4, 1, 1)), (1, (2, 0)),
    (6, (2, 3)), (6, (2, 5, 6)), (6, (2, 4, 5)), (6, (4,))])
def test_inputs_of_another_shape_are_refused(network_class, input_dim, shape):
    with pytest.raises(ValueError, match="inputs"):
        network_class(4, input_dim, 5, 10)(torch.ones(shape))


@pytest.mark.parametrize("network_class", NETWORKS)
@pytest.mark.parametrize("digit", [-1, 6, 2.5, math.nan, math.inf])
def test_a_digit_without_a_one_hot_vector_is_refused(network_class, digit):
    digits = torch.tensor([[1, 2, 3, 5], [0, digit, 4, 1]])
    with pytest.raises(ValueError, match="0 … 5"):
        network_class(4, 6, 5, 10)(digits)


@pytest.mark.parametrize("network_class", NETWORKS)
def test_rows_of_a_batch_do_not_touch_each_other(network_class):
    network = randomized(network_class(7, 10, 5, 10)).double()
    digits = torch.randint(10, (6, 7), generator=torch.Generator().manual_seed(0))
    together = network(digits)
    for k in range(6):
        torch.testing.assert_close(network(digits[k:k + 1]), together[k:k + 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("network_class", NETWORKS)
@pytest.mark.parametrize("input_dim", [1, 10])
def test_memory_layout_does_not_matter(network_class, input_dim):
    network = randomized(network_class(7, input_dim, 5, 10)).double()
    digits = torch.randint(10, (6, 7), generator=torch.Generator().manual_seed(0)).double()
    expected = network(digits)
    strided = torch.zeros(6, 14, dtype=torch.float64)
    strided[:, ::2] = digits
    for same in (digits.T.contiguous().T, strided[:, ::2]):
        assert not same.is_contiguous()
        torch.testing.assert_close(network(same), expected, rtol=0, atol=1e-12)
    row = digits[:1].expand(4, -1)
    torch.testing.assert_close(network(row), expected[:1].expand(4, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("network_class", NETWORKS)
def test_the_first_digit_reaches_the_output_and_every_parameter_gets_a_gradient(network_class):
    network = randomized(network_class(5, 10, 5, 10))
    digits = torch.tensor([[1, 2, 3, 4, 5], [9, 2, 3, 4, 5]])
    outputs = network(digits)
    assert not outputs[0].equal(outputs[1])
    cross_entropy(outputs, torch.tensor([1, 9])).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


@pytest.mark.parametrize("network_class", NETWORKS)
def test_trace_collects_the_states_of_every_step(network_class):
    network = randomized(network_class(5, 10, 4, 10))
    trace = []
    logits = network(torch.zeros(3, 5), trace)
    assert len(trace) == 5 and all(len(state) == len(network.state) for state in trace)
    assert all(part.shape == (3, 4) for state in trace for part in state)
    torch.testing.assert_close(logits, trace[-1][0] @ network.W_ph.T + network.b_p)


@pytest.mark.parametrize("network_class", NETWORKS)
@pytest.mark.parametrize("wrong", [dict(seq_length=0), dict(input_dim=0), dict(num_hidden=-1), dict(num_classes=0)])
def test_impossible_sizes_are_refused(network_class, wrong):
    sizes = dict(seq_length=4, input_dim=1, num_hidden=5, num_classes=10) | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        network_class(**sizes)
