"""The processes that torchrun starts as one run: which of them this is, and what they tell each other.

    torchrun --nproc_per_node=2 -m part2.train_text --output runs/book     # two processes of this machine, or two GPUs

Each of them runs the whole script and trains on its part of every batch. The first alone writes and prints. Who fails
says so in one line and ends; its connections close, which ends the others, and they keep silent. Without torchrun this
one process is the first of one, and torch.distributed stays out of it.
"""
import functools
import os

LAUNCHED = "TORCHELASTIC_RUN_ID" in os.environ
SIZE, RANK, LOCAL_RANK, ATTEMPT = (
    int(os.environ[name]) if LAUNCHED else alone for name, alone in
    [("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0), ("TORCHELASTIC_RESTART_COUNT", 0)])
FIRST = RANK == 0


@functools.cache
def store():
    """What torchrun keeps for its processes. It outlives them when it starts the run again."""
    from torch import distributed
    return next(distributed.rendezvous("env://"))[0]


def remember(name, value):
    """Keep a text for the processes that torchrun may start after these."""
    if LAUNCHED:
        store().set(name, value)


def recall(name):
    """What processes before these had to `remember`, or None."""
    return store().get(name).decode() if LAUNCHED and store().check([name]) else None


def speaks():
    """Whether this process is the one to tell why the run ends: the first that comes here."""
    try:
        return not LAUNCHED or store().add(f"told {ATTEMPT}", 1) == 1
    except RuntimeError:  # torchrun is gone
        return FIRST


def start(device):
    """Connect the processes, which train on `device`: over gloo, and over nccl between GPUs."""
    if LAUNCHED:
        import torch
        if device.type == "cuda":
            torch.cuda.set_device(device)
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", rank=RANK, world_size=SIZE,
            store=torch.distributed.PrefixStore(f"attempt {ATTEMPT}", store()))  # else old addresses would be found


def end():
    """Disconnect, where all processes end together and no model is left that could still wait for the others."""
    if LAUNCHED:
        from torch import distributed
        distributed.destroy_process_group()


def parallel(model, x):
    """`model`, which returns logits and a state, as the processes train it: their gradients become the mean of all.

    `x` is an input to try it with.
    """
    if not LAUNCHED:
        return model
    import torch
    together = torch.nn.parallel.DistributedDataParallel(model)
    # After the first pass the gradients are sent in another order, in which sums round differently. It is over before
    # the training, so that a run that goes on adds up the numbers as one that was never stopped.
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        for _ in range(2):
            logits, _ = together(x)
            logits.sum().backward()
    return together


def gather(value=None):
    """The values that all processes have here, by rank. None goes on before all of them have come."""
    if not LAUNCHED:
        return [value]
    from torch import distributed
    values = [None] * SIZE
    distributed.all_gather_object(values, value)
    return values


def mean(*values):
    """The mean over all processes of each of these numbers."""
    return [sum(column) / SIZE for column in zip(*gather(values))]


def largest(number):
    """The largest of the whole numbers that the processes have here; made for every update."""
    if not LAUNCHED:
        return number
    import torch
    number = torch.tensor(number)
    torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
    return number.item()


def peer_died(error):
    """Whether `error` is how torch says that another process is no longer there."""
    if not LAUNCHED:
        return False
    from torch import distributed
    return isinstance(error, distributed.DistError) or isinstance(error, RuntimeError) and "gloo" in str(error)
