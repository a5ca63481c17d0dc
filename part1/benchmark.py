"""Speed and memory of the networks of Part 1, beside those of `torch.nn`, on the processor.

    python -m part1.benchmark                                        # everything; minutes, and nothing else should run
    python -m part1.benchmark --model_type LSTM --palindrome_lengths 10 100 --threads 1 --repeats 10

Compared are whole updates (forward, loss, backward, clipping, RMSProp) on one-hot digits, all from the same encoding:
bptt (our network with the derivatives of `part1.bptt`), autograd (the same with `--backward autograd`, the textbook
loop), compiled (that loop with its step through `torch.compile`, where there is a C++ compiler), torch (the network of
that name in `torch.nn` in the place of ours), and floor (nothing but the matrix products of bptt, for the RNN and the
LSTM). What a network does not have (GRU: bptt; PeepLSTM: torch) is left empty.

OpenMP's threads spin before they sleep: for 1,000 iterations in our scripts (GOMP_SPINCOUNT), for 300,000 by default.
Several threads are measured with both. Writes `benchmark.csv` (times), `memory.csv` (peaks), `data.csv` (examples per
second of `ds.batch` and of a loader over single examples) and a figure into `--output`.
"""
import contextlib
import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from tqdm import tqdm

from part1 import cli, drawing, files, run, style
from part1.dataset import PalindromeDataset
from part1.train import MODELS

resource = None
with contextlib.suppress(ImportError):  # Windows has none
    import resource

RATIOS = ("bptt/torch", "autograd/bptt", "compiled/bptt", "bptt/floor")
DIGITS = 10


def parse_args(argv=None):
    """Parse the flags of `python -m part1.benchmark`."""
    parser = cli.Parser("part1.benchmark", "Time whole updates of our networks and of torch's own, on the processor.")
    add = parser.add_argument
    length = cli.number(int, at_least=2)
    add("--model_type", nargs="+", choices=MODELS, default=["RNN", "LSTM"], help="networks")
    add("--palindrome_lengths", nargs="+", type=length, default=[10, 30, 100, 300], metavar="T", help="lengths")
    add("--threads", nargs="+", type=cli.positive_int, default=sorted({1, cli.cores()}), metavar="N",
        help="numbers of threads; 1 and all")
    add("--repeats", type=cli.positive_int, default=30, help="rounds for each network, length and number of threads")
    add("--memory_lengths", nargs="*", type=length, default=[100, 1000], metavar="T",
        help="palindrome lengths at which to measure the peak memory, but on Windows; none: leave that out")
    add("--num_hidden", type=cli.positive_int, default=128, help="hidden units")
    add("--batch_size", type=cli.positive_int, default=128, help="palindromes per update")
    add("--output", type=cli.path, default=files.ROOT / "runs" / "benchmark", help="folder for tables and figure")
    return parser.parse_args(argv)


def takes_part(contestant, model_type):
    """Whether there is such a contestant for this network, here."""
    there = {"bptt": MODELS[model_type].fast, "compiled": shutil.which("g++"), "torch": hasattr(nn, model_type),
             "floor": model_type in ("RNN", "LSTM")}
    return bool(there.get(contestant, True))


def make_update(config, contestant, model_type, length):
    """A function that does one whole update of `contestant`, always on the same batch."""
    n = config.num_hidden
    network = MODELS[model_type](length - 1, DIGITS, n, DIGITS)
    network.backward_pass = "bptt" if contestant == "bptt" else "autograd"
    if contestant == "compiled":
        network.step = torch.compile(network.step)
    elif contestant == "torch":  # our weights stay, but get no gradient and so no update
        network.torchs = getattr(nn, model_type)(DIGITS, n, batch_first=True)
        network.forward = lambda x: network.output(network.torchs(network.encode(x))[0][:, -1])
    optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-3, foreach=True)  # as in part1.train
    digits, labels = PalindromeDataset(length).batch(config.batch_size)
    rows, width = len(network.gates) * n, n + DIGITS + 1  # of the stacked weights in part1.bptt
    W, inputs, dW_T = torch.randn(rows, width), torch.randn(width, config.batch_size), torch.zeros(width, rows)

    def update():
        loss = cross_entropy(network(digits), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()

    def floor():
        for _ in range(length - 1):
            a = W @ inputs  # forward
            dW_T.addmm_(inputs, a.T)  # gradient of W
            W[:, :n].T @ a  # back in time

    return floor if contestant == "floor" else update


def take_turns(functions, repeats):
    """Seconds of `repeats` calls of each of `functions` (a dict), in a new order each round: noise hits all alike."""
    order, seconds = np.random.default_rng(0), {name: [] for name in functions}
    for _ in range(2 + repeats):
        for name in order.permutation(list(functions)):
            start = time.perf_counter()
            functions[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values[2:]) for name, values in seconds.items()}  # two rounds only warm up


def summary(name, values, unit=""):
    """Three columns of a table: the median of `values` and its quartiles; empty where `values` is None."""
    quartiles = [None] * 3 if values is None else [f"{value:.4g}" for value in np.percentile(values, (50, 25, 75))]
    return dict(zip((f"{name}{unit}", f"{name}_q1", f"{name}_q3"), quartiles))


def measure_times(config, threads, model_type, length):
    """A row of `benchmark.csv`: milliseconds per update, and their ratios."""
    run.set_up_torch()
    torch.set_num_threads(threads)
    names = [name for name in drawing.CONTESTANTS if takes_part(name, model_type)]
    seconds = take_turns({name: make_update(config, name, model_type, length) for name in names}, config.repeats)
    row = {"model_type": model_type, "threads": threads, "GOMP_SPINCOUNT": os.environ["GOMP_SPINCOUNT"], "T": length}
    for name in drawing.CONTESTANTS:
        row |= summary(name, 1000 * seconds[name] if name in names else None, "_ms")
    for ratio in RATIOS:
        over, under = ratio.split("/")
        row |= summary(ratio, seconds[over] / seconds[under] if {over, under} <= set(names) else None)
    return row


def measure_memory(config, model_type, length, contestant):
    """A row of `memory.csv`: this process's peak of resident memory before its first update and after three."""
    unit = 1 if sys.platform == "darwin" else 1024
    torch.set_num_threads(1)
    update = make_update(config, contestant, model_type, length)

    def peak():
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)

    before = peak()
    for turn in range(3):
        update()
    return {"model_type": model_type, "T": length, "network": contestant, "before_MB": before, "peak_MB": peak()}


def measure_data(config, length):
    """A row of `data.csv`: examples per second of `ds.batch` and of a `DataLoader` over single ones, on one thread."""
    torch.set_num_threads(1)
    dataset = PalindromeDataset(length)
    loader = iter(DataLoader(dataset, config.batch_size))
    seconds = take_turns({"batch": lambda: [dataset.batch(config.batch_size) for _ in range(20)],
                          "loader": lambda: [next(loader) for _ in range(20)]}, config.repeats)
    speeds = {name: 20 * config.batch_size / np.median(used) for name, used in seconds.items()}
    return {"T": length, "batch_examples/s": f"{speeds['batch']:.4g}", "loader_examples/s": f"{speeds['loader']:.4g}",
            **summary("batch/loader", seconds["loader"] / seconds["batch"])}


def in_new_processes(function, config, jobs, spins=1000):
    """`[function(config, *job) for job in jobs]`, each in a new process where GOMP_SPINCOUNT is `spins`."""
    before, rows = dict(os.environ), []
    os.environ["GOMP_SPINCOUNT"] = str(spins)
    try:
        for job in tqdm(jobs, function.__name__, disable=None):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                rows.append(pool.submit(function, config, *job).result())
    finally:
        os.environ.clear()
        os.environ.update(before)
    return rows


def main(config):
    for name, columns in {"benchmark": ["model_type", "T"], "memory": ["model_type", "T"], "data": ["T"]}.items():
        files.refuse_foreign(config.output / f"{name}.csv", columns)
    style.targets(config.output / "benchmark")
    config.output.mkdir(parents=True, exist_ok=True)
    memory_jobs = [job for job in product(config.model_type, config.memory_lengths if resource else [],
                                          ("bptt", "autograd", "torch")) if takes_part(job[2], job[0])]
    jobs = list(product(config.threads, config.model_type, config.palindrome_lengths))
    several = [job for job in jobs if job[0] > 1]
    tables = {"memory": in_new_processes(measure_memory, config, memory_jobs),
              "data": in_new_processes(measure_data, config, list(product(config.palindrome_lengths))),
              "benchmark": in_new_processes(measure_times, config, jobs)
              + in_new_processes(measure_times, config, several, spins=300_000)}
    for title, rows in tables.items():
        if rows:
            files.write_csv(config.output / f"{title}.csv", rows)
            names = [name for name in rows[0] if not name.endswith(("_q1", "_q3"))]
            for line in [dict(zip(names, names)), *rows]:
                print("  ".join(f"{'' if line[name] is None else line[name]:>{max(10, len(name))}}" for name in names))
            print()
    table = config.output / "benchmark.csv"
    print(f"figure: {files.display(drawing.speed(files.read_csv(table), config.output / 'benchmark', [table]))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
