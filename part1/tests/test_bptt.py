"""The hand-written backward passes are exact, and safe to use like any other part of a graph."""
import copy
import os
import subprocess
import sys
import threading

from part1 import cli, run  # noqa: F401 (before torch, see there)
import pytest
import torch
from torch.nn.functional import cross_entropy

from part1 import bptt, grads_over_time, train
from part1.dataset import PalindromeDataset
from part1.lstm import LSTM
from part1.peep_lstm import PeepLSTM
from part1.recurrent import RecurrentNetwork
from part1.vanilla_rnn import VanillaRNN

NETWORKS = [VanillaRNN, LSTM, PeepLSTM]
each_network = pytest.mark.parametrize("network_class", NETWORKS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(network_class, seq_length=5, input_dim=3, num_hidden=4, num_classes=2, dtype=torch.float64):
    """A network with random biases too: zero ones would hide a gradient that is off by a factor."""
    network = network_class(seq_length, input_dim, num_hidden, num_classes).to(dtype)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("b_"):
                parameter.normal_()
    return network


def gradients(network, x, labels, backward_pass="bptt"):
    """Loss and gradients of all parameters, by name, and of x if it asks for one."""
    network.backward_pass = backward_pass
    loss = cross_entropy(network(x), labels)
    wanted = dict(network.named_parameters()) | ({"x": x} if x.requires_grad else {})
    return loss, dict(zip(wanted, torch.autograd.grad(loss, list(wanted.values()))))


def relative_error(gradient, reference):
    return ((gradient - reference).norm() / reference.norm()).item()


def assert_same(found, reference, tolerance):
    assert found.keys() == reference.keys()
    for name in reference:
        assert found[name].shape == reference[name].shape
        assert relative_error(found[name], reference[name]) <= tolerance, name


@each_network
@pytest.mark.parametrize("batch, seq_length, input_dim, num_hidden", [
    (3, 5, 3, 4), (1, 4, 3, 4), (3, 1, 3, 4), (1, 1, 1, 1), (2, 3, 1, 5), (5, 7, 3, 1)])
def test_gradcheck(network_class, batch, seq_length, input_dim, num_hidden):
    network = make(network_class, seq_length, input_dim, num_hidden)
    weights = bptt.cell_weights(network)
    x = torch.randn(batch, seq_length, input_dim, dtype=torch.float64, requires_grad=True)

    def last_hidden(x, *values):
        return bptt.Backpropagation.apply(network.unrolled, [], list(weights), x, *values)

    assert torch.autograd.gradcheck(last_hidden, (x, *weights.values()))


@each_network
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("batch, seq_length, input_dim, num_hidden", [
    (128, 29, 10, 128), (33, 17, 1, 65), (1, 99, 10, 7)])
def test_gradients_equal_those_of_autograd(network_class, dtype, tolerance, batch, seq_length, input_dim, num_hidden):
    network = make(network_class, seq_length, input_dim, num_hidden, 10, dtype)
    digits, labels = PalindromeDataset(seq_length + 1).batch(batch)
    loss, found = gradients(network, digits, labels)
    loss_of_autograd, reference = gradients(network, digits, labels, "autograd")
    assert loss.item() == pytest.approx(loss_of_autograd.item(), rel=tolerance)
    assert_same(found, reference, tolerance)


@each_network
def test_gradient_of_the_inputs_and_inputs_that_are_not_contiguous(network_class):
    network = make(network_class)
    labels = torch.tensor([0, 1, 1])
    wide = torch.randn(3, 6, 10, dtype=torch.float64, requires_grad=True)
    for x in (wide[:, :5, ::4][:, :, :3], wide.transpose(1, 2)[:, ::2, ::2], wide[:1, :5, :3].expand(3, 5, 3)):
        x = x.detach().requires_grad_()
        assert x.shape == (3, 5, 3) and not x.is_contiguous()
        assert_same(gradients(network, x, labels)[1], gradients(network, x, labels, "autograd")[1], 1e-12)


@each_network
def test_two_uses_in_one_graph_and_a_second_pass_through_it(network_class):
    network = make(network_class)
    first, second = torch.randn(2, 3, 5, 3, dtype=torch.float64)
    found = {}
    for network.backward_pass in ("autograd", "bptt"):
        for repetition in range(3):  # later repetitions take over workspaces of earlier ones
            loss = (network(first).sin() * network(second) + network(first[:2]).sum()).sum()
            network.zero_grad()
            loss.backward(retain_graph=True)
            with torch.no_grad():
                network(second)
            network(second).sum()  # takes a workspace that the graph has given away, and drops it
            loss.backward()
            found[network.backward_pass] = {name: p.grad for name, p in network.named_parameters()}
    assert_same(found["bptt"], found["autograd"], 1e-12)


@each_network
def test_changing_the_weights_before_the_backward_pass_is_an_error(network_class):
    network = make(network_class)
    logits = network(torch.randn(3, 5, 3, dtype=torch.float64))
    with torch.no_grad():
        next(network.parameters()).zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logits.sum().backward()


@each_network
def test_without_gradients_nothing_is_kept(network_class):
    network = make(network_class, seq_length=7)
    x = torch.randn(3, 7, 3, dtype=torch.float64)
    expected = network(x)
    assert bptt.SPARE[network] == []
    with torch.no_grad():
        assert torch.allclose(network(x), expected, rtol=1e-12)
    with torch.inference_mode():
        assert torch.allclose(network(x), expected, rtol=1e-12)
    network.requires_grad_(False)
    frozen = network(x)
    assert torch.allclose(frozen, expected, rtol=1e-12) and not frozen.requires_grad
    assert len(network.unrolled(x, network.num_hidden).buffer) == 1  # one step's worth, whatever the length


@each_network
def test_only_some_weights_are_trained(network_class):
    network = make(network_class)
    x = torch.randn(3, 5, 3, dtype=torch.float64)
    network(x).sum().backward()
    expected = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    frozen, *_, trained = (name for name in bptt.cell_weights(network))
    network.get_parameter(frozen).requires_grad_(False)
    network(x).sum().backward()
    assert network.get_parameter(frozen).grad is None
    assert torch.equal(network.get_parameter(trained).grad, expected[trained])


@each_network
def test_an_empty_batch_has_gradients_of_zero(network_class):
    network = make(network_class)
    network(torch.randn(0, 5, 3, dtype=torch.float64)).sum().backward()
    assert all((p.grad == 0).all() for p in network.parameters())


@each_network
def test_a_workspace_is_reused_and_goes_with_its_network(network_class):
    network = make(network_class)
    x = torch.randn(3, 5, 3, dtype=torch.float64)
    for _ in range(3):
        network(x).sum().backward()
        workspace, = bptt.SPARE[network]
    network(x).sum().backward()
    assert bptt.SPARE[network] == [workspace]
    network(x[:2]).sum().backward()  # another size: the old one goes
    assert [unrolled.shape for unrolled in bptt.SPARE[network]] == [(2, 5, 3)]
    twin = copy.deepcopy(network)
    assert twin not in bptt.SPARE
    before = len(bptt.SPARE)
    del network
    assert len(bptt.SPARE) == before - 1


@pytest.fixture
def two_threads(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(bptt, "SLEEPING", True)
    yield
    torch.set_num_threads(before)


def watch_steps(network, monkeypatch):
    """A set that fills with pairs of a thread and the number of OpenMP threads it has, one for each step."""
    seen = set()
    for name in ("step", "step_backward"):
        def watched(self, *args, method=getattr(network.unrolled, name)):
            seen.add((threading.current_thread(), torch.get_num_threads()))
            return method(self, *args)
        monkeypatch.setattr(network.unrolled, name, watched)
    return seen


@each_network
def test_only_a_large_network_uses_the_threads_of_openmp(network_class, two_threads, monkeypatch):
    network = make(network_class, num_hidden=64, dtype=torch.float32)
    x, labels = torch.randn(127, 5, 3), torch.randint(2, (127,))
    seen = watch_steps(network, monkeypatch)
    small, _ = gradients(network, x, labels)
    assert seen == {(threading.main_thread(), 1)} and torch.get_num_threads() == 2
    for name, value in (("SMALL", 64 * 68 * 127 - 1), ("SLEEPING", False)):  # less than any of the networks multiplies
        seen.clear()
        with monkeypatch.context() as patch:
            patch.setattr(bptt, name, value)
            large, _ = gradients(network, x, labels)
        assert seen == {(threading.main_thread(), 2)} and torch.get_num_threads() == 2
        torch.testing.assert_close(small, large)


@each_network
@pytest.mark.parametrize("batch", [128, 131, 200])
def test_threads_of_ours_share_a_batch(network_class, batch, two_threads, monkeypatch):
    network = make(network_class)
    x, labels = torch.randn(batch, 5, 3, dtype=torch.float64, requires_grad=True), torch.randint(2, (batch,))
    loss, reference = gradients(network, x, labels, "autograd")
    seen = watch_steps(network, monkeypatch)
    for repetition in range(2):  # the second takes over the workspaces of the first
        shared_loss, found = gradients(network, x, labels)
        assert shared_loss.item() == pytest.approx(loss.item(), rel=1e-12)
        assert_same(found, reference, 1e-12)
    assert len(seen) == 2 and {count for _, count in seen} == {1} and torch.get_num_threads() == 2
    assert [unrolled.shape[0] for unrolled in bptt.SPARE[network]] == [(batch + 1) // 2, batch // 2]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert cross_entropy(network(x), labels).item() == pytest.approx(loss.item(), rel=1e-12)


def test_a_thread_beside_the_main_one_does_not_share_its_batch(two_threads, monkeypatch):
    network = make(LSTM)
    seen = watch_steps(network, monkeypatch)
    thread = threading.Thread(target=lambda: network(torch.randn(200, 5, 3, dtype=torch.float64)).sum().backward())
    thread.start()
    thread.join()
    assert {who for who, _ in seen} == {thread} and network.W_ph.grad.abs().sum() > 0


def test_threads_of_ours_flush_denormal_numbers(two_threads):
    tiny = torch.full((8,), 1e-30)
    first, second = bptt.side_by_side([lambda: tiny * 1e-10, lambda: tiny * 1e-10])
    assert (first == 0).all() and (second == 0).all()


def test_an_error_leaves_the_number_of_threads_alone(two_threads):
    def fail():
        raise KeyError

    def succeed():
        pass

    for functions in ([fail], [fail, succeed], [succeed, fail]):
        with pytest.raises(KeyError):
            bptt.side_by_side(functions)
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("first, sleeping", [("part1.run", True), ("torch", False)])
def test_threads_count_as_sleeping_only_where_they_are_told_to_in_time(first, sleeping):
    code = f"import {first}; from part1 import run, bptt; print(bptt.SLEEPING)"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], cwd=cli.ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(sleeping), done.stderr


@each_network
def test_gradients_through_time_equal_those_of_autograd(network_class):
    network = make(network_class, seq_length=9, input_dim=10, num_hidden=6, num_classes=10)
    digits, labels = PalindromeDataset(10).batch(4)
    trace = []
    loss = cross_entropy(network(digits, trace), labels, reduction="sum")
    reference = torch.autograd.grad(loss, [state for step in trace for state in step], materialize_grads=True)
    found = bptt.gradients_through_time(network, digits, labels)
    assert tuple(found) == network.state
    for k, name in enumerate(network.state):
        expected = torch.stack(reference[k::len(network.state)])
        assert torch.allclose(found[name], expected, rtol=1e-10, atol=1e-14), name
        norms = grads_over_time.gradient_norms(network, digits, labels)[name]
        assert norms == pytest.approx(expected.norm(dim=2).mean(dim=1).numpy(), rel=1e-10)


@each_network
def test_training_curves_of_both_backward_passes_agree(network_class):
    losses = {}
    for backward_pass in ("bptt", "autograd"):
        model_type = next(name for name, value in train.MODELS.items() if value is network_class)
        config = train.parse_args(["--model_type", model_type, "--input_length", "5",
                                   "--input_dim", "10", "--num_hidden", "16"])
        torch.manual_seed(0)
        network = train.make_model(config, "cpu").double()
        network.backward_pass = backward_pass
        optimizer = train.make_optimizer(config, network.parameters())
        generator = torch.Generator().manual_seed(1)
        losses[backward_pass] = []
        for _ in range(200):
            digits, labels = PalindromeDataset(6).batch(32, generator)
            loss = cross_entropy(network(digits), labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_norm)
            optimizer.step()
            losses[backward_pass].append(loss.item())
    assert losses["bptt"] == pytest.approx(losses["autograd"], rel=1e-6)
    assert losses["bptt"][-1] < losses["bptt"][0]


def test_the_flag_chooses_the_backward_pass(tmp_path, monkeypatch):
    calls = []
    last_hidden = bptt.last_hidden
    monkeypatch.setattr(bptt, "last_hidden", lambda *arguments: calls.append(1) or last_hidden(*arguments))
    small = ["--input_length", "3", "--num_hidden", "4", "--train_steps", "3", "--eval_size", "8"]
    for flags, used in (([], True), (["--backward", "autograd"], False), (["--backward", "bptt"], True)):
        calls.clear()
        train.train(train.parse_args([*small, *flags, "--output", str(tmp_path / f"{len(flags)}{used}")]), quiet=True)
        assert bool(calls) == used


def test_a_cell_without_written_derivatives_leaves_them_to_autograd():
    class Mean(RecurrentNetwork):
        gates = recurrent = "h"

        def step(self, x, h):
            return ((h + x @ self.W_hx.T + self.b_h) / 2,)

    network = Mean(4, 1, 3, 2)
    network(torch.ones(2, 4)).sum().backward()
    assert network.W_hx.grad.abs().sum() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each_network
def test_on_a_gpu(network_class):
    network = make(network_class, 17, 10, 65, 10).cuda()
    digits, labels = (tensor.cuda() for tensor in PalindromeDataset(18).batch(33))
    assert_same(gradients(network, digits, labels)[1], gradients(network, digits, labels, "autograd")[1], 1e-12)
