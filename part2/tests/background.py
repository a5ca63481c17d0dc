"""`part2.train_text` in several processes, started and ended as torchrun would, but in 0.1 s each."""
import builtins
import importlib
import io
import math
import os
import signal
import sys
import time
import types

from part1 import cli, processes, run  # before torch, see part1/run.py
import torch
import torch._dynamo  # torch does later, and writes then

from part1.tests.background import context
from part2 import study, train_text


class Launch:
    """Processes with these flags: their exit statuses, negative for a signal, and what each of them printed.

    Args:
        folder: for what they print.
        size: their number.
        flags: of the script.
        before: the launch that this one starts again.
        options: of `script`.
    """

    def __init__(self, folder, size, flags, before=None, **options):
        self.attempt = before.attempt + 1 if before else 0
        self.store = before.store if before else torch.distributed.TCPStore("localhost", 0, is_master=True,
                                                                            wait_for_workers=False)
        logs = [folder / f"log {rank}" for rank in range(size)]
        torchruns = {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": size,
                     "TORCHELASTIC_RESTART_COUNT": self.attempt, "MASTER_ADDR": "localhost",
                     "MASTER_PORT": self.store.port}
        group = [context.Process(target=_process, args=({**torchruns, "RANK": rank, "LOCAL_RANK": rank}, log, flags,
                                                        options)) for rank, log in enumerate(logs)]
        for process in group:
            process.start()
        end = time.monotonic() + 60
        try:
            while any(process.is_alive() for process in group):
                assert time.monotonic() < end, "still running"
                time.sleep(0.02)
                if any(process.exitcode for process in group):  # torchrun tells the others to end
                    time.sleep(0.1)
                    for process in group:
                        if process.is_alive():
                            os.kill(process.pid, signal.SIGTERM)
                        process.join(30)
        finally:
            for process in group:
                process.kill()
                process.join()
        self.statuses = [process.exitcode for process in group]
        self.printed = [log.read_text() for log in logs]

    def line(self):
        """The only line, of all processes, that is not about progress."""
        line, = [line for text in self.printed for line in text.splitlines() if not line.startswith("update ")]
        return line


def _process(environment, log, flags, options):
    os.environ.update({name: str(value) for name, value in environment.items()})
    importlib.reload(processes)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False, buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell; a fork server may ignore it
    status = script([str(flag) for flag in flags], **options)
    sys.stdout.flush()
    os._exit(status)


def script(flags, name="train_text", double=False, moments=(), runs=None):
    """Run a script; returns its exit status. Ranks above 0 fail when they write.

    Args:
        double: everything in float64.
        moments: (attempt, rank, update, what that process then does, a key of `ACTIONS`).
        runs: folder for new runs, instead of this repository's.
    """
    torch.set_num_threads(1)
    sys.modules["torch.utils.tensorboard"] = types.SimpleNamespace(SummaryWriter=Summary)
    if not processes.FIRST:
        builtins.open = io.open = reading_only
        os.mkdir = os.replace = os.truncate = None
    if double:
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double
    if runs:
        cli.ROOT = runs
    if moments:
        check = run.Run.check_finite

        def check_and_act(current, **values):
            check(current, **values)
            for *moment, action in moments:
                if moment == [processes.ATTEMPT, processes.RANK, current.step] and "loss" in values:
                    ACTIONS[action](current)

        run.Run.check_finite = check_and_act
    module = {"train_text": train_text, "study": study}[name]
    try:
        return cli.main(module.parse_args, module.main, flags, torchrun=module is train_text)
    except SystemExit as stop:
        return stop.code


class Summary:
    """Stands for TensorBoard's writer."""

    def __init__(self, folder, purge_step):
        assert processes.FIRST

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def add_scalar(self, name, value, step):
        pass


def reading_only(file, mode="r", *args, _open=open, **kwargs):
    assert mode in ("r", "rb"), f"{file} is opened to write"
    return _open(file, mode, *args, **kwargs)


def terminate_torchrun(current):
    os.kill(os.getppid(), signal.SIGTERM)
    while not current.signum:  # until torchrun has passed it on
        time.sleep(0.01)


def spoil_evaluation(current):
    train_text.evaluate = lambda model, characters: math.nan


ACTIONS = {"kill": lambda current: os.kill(os.getpid(), signal.SIGKILL),
           "interrupt": lambda current: os.kill(os.getpid(), signal.SIGINT),
           "terminate": lambda current: os.kill(os.getpid(), signal.SIGTERM),
           "terminate torchrun": terminate_torchrun, "spoil evaluation": spoil_evaluation}


if __name__ == "__main__":  # of torchrun's own processes: the options as JSON, then the flags
    import json
    sys.exit(script(sys.argv[2:], **json.loads(sys.argv[1])))
