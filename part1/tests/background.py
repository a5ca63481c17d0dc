"""`part1.train` in a process of its own, to be killed and interrupted. One starts in 0.1 s."""
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from multiprocessing import util

import torch

from part1 import cli, files, train

if len(tempfile.gettempdir()) > 60:  # too long a TMPDIR for the name of the fork server's socket
    long, tempfile.tempdir = tempfile.tempdir, "/tmp"
    util.get_temp_dir()  # it stays the same from here on
    tempfile.tempdir = long
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["part1.train", "part1.sweep", "part1.tests.background", "torch._dynamo"])


class Train:
    """A running `part1.train`; before it begins, `patch`, a function of this module and its arguments, is called."""

    def __init__(self, log, flags, patch=()):
        self.log = log
        self.process = context.Process(target=_train, args=(log, [str(flag) for flag in flags], *patch))
        self.process.start()
        self.pid = self.process.pid

    def wait(self, seconds=60):
        """The exit status, negative for a signal, and the output, both streams together."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "still running"
        return self.process.exitcode, self.log.read_text() if self.log.exists() else ""

    def until(self, condition, seconds=60):
        """Wait until `condition()` holds; the process must be alive then."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.is_alive(), self.wait()
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.002)

    def send(self, signum):
        os.kill(self.pid, signum)

    def kill(self):
        self.process.kill()
        self.process.join()


def _train(log, flags, patch=lambda: None, *arguments):
    file = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False, buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell; a fork server may ignore it
    torch.set_num_threads(1)  # as in the process of the tests
    patch(*arguments)
    status = cli.main(train.parse_args, train.main, flags)
    sys.stdout.flush()
    os._exit(status)


def signal_at(number, *signums):
    """Let the signals come, one after the other, while row `number` of the metrics is written."""
    append, rows = files.Appended.append, []

    def watched(self, text):
        rows.append(text)
        if len(rows) == number:
            for signum in signums:
                os.kill(os.getpid(), signum)
        append(self, text)

    files.Appended.append = watched
