"""One training run in the several processes (ranks) that torchrun starts, on the cores or the GPUs of a machine.

    torchrun --standalone --nproc_per_node=2 -m part2.train_text --output runs/book

Every rank draws the whole batch and learns from its share; then the ranks sum their gradients. Only rank 0 writes and
prints. What bounds the gain: two layers of H units over K characters have P = 4H(K + H) + 8HH + 16H + KH + K weights,
256,346 for H = 128 and K = 90. For each update of B windows of T characters, one of N ranks computes 6PTB/N operations
(2 forward, 4 backward) and sends 8P(N - 1)/N bytes: 3TB / (4(N - 1)) operations per byte whatever P is, 1440 for two
ranks, T = 30 and B = 64. So two cores at 10 billion operations per second need 7 MB/s, two GPUs at 10 trillion 7 GB/s.
Other bounds come first: T steps wait for one another however few the windows, and each rank updates all P weights.
"""
import contextlib
import os
import re
import signal
from types import SimpleNamespace

import torch
from torch import distributed
from tqdm import tqdm

from part1 import cli, run

LAUNCHED = "TORCHELASTIC_RUN_ID" in os.environ
RANK, SIZE = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE")) if LAUNCHED else (0, 1)


def main(parse_args, function):
    """`cli.main` in rank 0. The others show only the tracebacks of bugs: whatever else ends them ends rank 0 too."""
    try:
        if RANK == 0:
            return cli.main(parse_args, function)
        with (open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null),
              contextlib.suppress(SystemExit)):
            cli.main(parse_args, function)  # and exit with 0: torchrun must not end rank 0 before it has said why
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's to those that are about to end


def begin(script, config):
    """`run.begin` in all ranks, each with a GPU of its own for `--device cuda`; after a restart the run resumes."""
    if not LAUNCHED:
        return run.begin(script, config)
    if config.output is None:
        raise cli.InputError("torchrun needs --output, the folder of the run")
    restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
    config.resume |= restarts != "0" and (config.output / "checkpoint.pt").exists()
    config, device = run.begin(script, config)
    if SIZE > config.batch_size:
        raise cli.InputError(f"--batch_size {config.batch_size} has no window for each of {SIZE} processes")
    if device.type != "cpu":
        if device != torch.device("cuda") or SIZE > torch.cuda.device_count():
            raise cli.InputError(f"with torchrun --device is cpu, or cuda where each of {SIZE} processes has a GPU")
        device = torch.device("cuda", RANK)
        torch.cuda.set_device(device)
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        store = distributed.PrefixStore(restarts, next(distributed.rendezvous("env://"))[0])  # not those of before
        distributed.init_process_group(backend, rank=RANK, world_size=SIZE, store=store)
    except RuntimeError as error:  # a network interface that is not there, say
        raise cli.InputError(f"the processes cannot connect: {cli.one_line(error)}") from None
    all_reduce(torch.zeros(1))  # a barrier: a rank that fails while another still connects leaves that one waiting
    return config, device


@contextlib.contextmanager
def open_run(script, config, parts, every, extra, quiet):
    """`run.open_run` in rank 0; the others then start from the checkpoint that its folder holds."""
    with contextlib.ExitStack() as stack:
        if RANK == 0:
            current = stack.enter_context(run.open_run(script, config, parts, every, extra, quiet))
        all_reduce(torch.zeros(1))  # a barrier
        if RANK > 0:
            current = Follower(script, config, parts, extra, stack.enter_context(cli.deferred_signals()))
        current.stop_signal = lambda: int(all_reduce(torch.tensor(max(current.received, default=0)), "MAX"))
        yield current
        if LAUNCHED:
            distributed.destroy_process_group()


class Follower(run.Run):
    """The run in the ranks above 0: in step with rank 0, without a record."""

    def __init__(self, script, config, parts, extra, received):
        self.script, self.config, self.folder, self.received = script, config, config.output, received
        self.step, *_ = run.restore(self.folder / "checkpoint.pt", script, parts, extra)
        self.bar, self.samples, self.rows = tqdm(disable=True), SimpleNamespace(append=self.log), []

    def updates(self):
        for step in super().updates():  # each with dropout of its own: only rank 0 saves a random state
            torch.manual_seed(run.generator(self.config.seed, f"rank {RANK} at update {step}").initial_seed())
            yield step

    def log(self, *args, **values):
        """Nothing: rank 0 keeps the record."""

    save = log


def share(tensors):
    """This rank's share of the rows of each tensor."""
    return [tensor.tensor_split(SIZE)[RANK] for tensor in tensors]


def sum_gradients(model):
    """Add to the gradients of `model` those of the other ranks."""
    gradients = [parameter.grad for parameter in model.parameters()]
    vector = all_reduce(torch.cat([gradient.flatten() for gradient in gradients]))
    torch.nn.utils.vector_to_parameters(vector, gradients)


def all_reduce(tensor, operation="SUM"):
    """Turn a tensor of each rank into the sum, or the maximum, of all; returns it."""
    try:
        if LAUNCHED:
            distributed.all_reduce(tensor, getattr(distributed.ReduceOp, operation))
        return tensor
    except RuntimeError as error:
        died = re.search("closed by peer|reset by peer|Broken pipe|remote process exited", str(error))
        reason = "another process of this run died" if died else f"the processes cannot talk: {cli.one_line(error)}"
        raise cli.RunFailed(reason) from error
