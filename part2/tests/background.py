"""`part2.train_text` in processes of its own, to be killed and interrupted, also several as torchrun starts them."""
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time

import torch
import torch._dynamo  # torch.optim would load it later, in each process

from part1 import files, run
from part2 import parallel, train_text

context = multiprocessing.get_context("forkserver")
# Of one server for all: it also serves Part 1.
context.set_forkserver_preload(["part1.tests.background", "part1.sweep", "part2.tests.background"])


def launch(folder, size, *flags, restarts=0, environment=(), **options):
    """Train in `size` processes with these flags, as torchrun does after so many restarts; 0: one without torchrun.

    Returns their exit statuses, negative for a signal, and what each has printed, which is kept in `folder`.
    """
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    torchrun = {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": size,
                "TORCHELASTIC_RESTART_COUNT": restarts, "MASTER_ADDR": "localhost", "MASTER_PORT": store.port,
                **dict(environment)}
    logs = [folder / f"log {rank}" for rank in range(max(size, 1))]
    processes = [context.Process(target=_process, args=({**torchrun, "RANK": rank} if size else {}, log,
                                                        list(map(str, flags)), options))
                 for rank, log in enumerate(logs)]
    for process in processes:
        process.start()
    end = time.monotonic() + 60
    while any(process.is_alive() for process in processes):
        time.sleep(0.02)
        late = time.monotonic() > end
        if late or any(process.exitcode for process in processes):  # torchrun tells the others to end
            time.sleep(0.1)
            for process in processes:
                process.kill() if late else process.terminate()
                process.join(30)
    assert time.monotonic() < end, "still running"
    statuses, printed = [process.exitcode for process in processes], [log.read_text() for log in logs]
    print(statuses, *printed, sep="\n")  # pytest shows it when a test fails
    return statuses, printed


def _process(environment, log, flags, options):
    os.environ.update({name: str(value) for name, value in environment.items()})
    importlib.reload(parallel)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False, buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell; a fork server may ignore it
    sys.exit(script(flags, **options))


def script(flags, double=False, moments=(), kill=None):
    """Run `part2.train_text`; returns its exit status.

    Args:
        double: everything in float64.
        moments: (restarts, rank, update, what that process then does, a key of `ACTIONS`).
        kill: (method of the run or its files, number of the call, whether after it), when the process kills itself.
    """
    if kill:
        _kill_at(*kill)
    torch.set_num_threads(1)
    if double:
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double
    check = run.Run.check_finite

    def check_and_act(current, step, **values):
        check(current, step, **values)
        here = [int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)), parallel.RANK, step]
        for *moment, action in moments:
            if moment == here and "loss" in values:
                ACTIONS[action]()

    run.Run.check_finite = check_and_act
    return parallel.main(lambda _: train_text.parse_args(flags), train_text.main)


def _kill_at(name, number, after):
    owner, calls = files.Appended if name == "append" else run.Run, []
    method = getattr(owner, name)

    def watched(self, *args, **kwargs):
        calls.append(name)
        if len(calls) == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        method(self, *args, **kwargs)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, watched)


def spoil_evaluation():
    train_text.evaluate = lambda model, characters: (float("nan"), 0.0)


ACTIONS = {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
           "interrupt": lambda: signal.raise_signal(signal.SIGINT),
           "terminate": lambda: signal.raise_signal(signal.SIGTERM), "spoil evaluation": spoil_evaluation,
           "terminate torchrun": lambda: (os.kill(os.getppid(), signal.SIGTERM), time.sleep(1))}


if __name__ == "__main__":  # of torchrun's own processes: the options as JSON, then the flags
    sys.exit(script(sys.argv[2:], **json.loads(sys.argv[1])))
