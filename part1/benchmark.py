"""How fast and how large the networks of Part 1 are, beside `torch.nn.RNN` and `torch.nn.LSTM`, on the processor.

    python -m part1.benchmark                                        # everything; minutes, and nothing else should run
    python -m part1.benchmark --models LSTM --lengths 10 100 --threads 1 --repeats 10

Compared are whole updates (forward, loss, backward, clipping, RMSProp) on one-hot digits, all from the same encoding:

* bptt: our network with the hand-written derivatives of `part1.bptt`.
* autograd: the same with `--backward autograd`, which is the textbook loop: two products for each gate at each step.
* torch: `nn.RNN` or `nn.LSTM`, and a linear output.
* floor: nothing but the matrix products of `part1.bptt`, three for each step (forward, gradient of W, back in time).

They take turns in one process, in a new order each round, and a ratio is the median over rounds, so what else the
machine does hits all alike. Several threads are measured with both of OpenMP's policies, in processes of their own:
passive, in which threads without work sleep (our scripts set it), and active, in which they spin (close to torch's
default). Peak memory is taken in a process of its own for each. Writes `benchmark.csv` (times), `memory.csv`,
`data.csv` (examples per second of `ds.batch` and of per-item loaders) and a figure into `--output`.
"""
import multiprocessing
import os
import random
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from unittest import mock

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, run  # before torch, see part1/run.py
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from part1 import bptt
from part1.dataset import PalindromeDataset
from part1.lstm import LSTM
from part1.vanilla_rnn import VanillaRNN
from report import style

SCRIPT = "part1.benchmark"
MODELS = {"RNN": (VanillaRNN, nn.RNN), "LSTM": (LSTM, nn.LSTM)}
CONTESTANTS = ("bptt", "autograd", "torch", "floor")
COLORS = dict(zip(CONTESTANTS, (style.BLUE, style.VERMILION, style.GREEN, style.GREY)))
LABELS = {"bptt": "ours, bptt", "autograd": "ours, autograd (textbook)", "torch": "torch.nn",
          "floor": "matrix products alone"}
RATIOS = (("bptt", "torch"), ("autograd", "bptt"), ("bptt", "floor"))
DIGITS = 10


def parse_args(argv=None):
    """Parse the flags of `python -m part1.benchmark`."""
    parser = cli.Parser(SCRIPT, "Time whole updates of our networks and of torch's own, side by side on the processor.")
    add = parser.add_argument
    length = cli.number(int, at_least=2)
    add("--models", nargs="+", choices=MODELS, default=list(MODELS), help="networks")
    add("--lengths", nargs="+", type=length, default=[10, 30, 100, 300], metavar="T", help="palindrome lengths")
    add("--threads", nargs="+", type=cli.positive_int, default=sorted({1, torch.get_num_threads()}), metavar="N",
        help="numbers of threads; 1 and all")
    add("--wait_policies", nargs="+", choices=["passive", "active"], default=["passive", "active"],
        help="what several OpenMP threads do between two operations: sleep or spin")
    add("--repeats", type=cli.positive_int, default=30, help="rounds for each network, length and number of threads")
    add("--memory_lengths", nargs="*", type=length, default=[100, 1000], metavar="T",
        help="palindrome lengths at which to measure the peak memory; none: leave that out")
    add("--num_hidden", type=cli.positive_int, default=128, help="hidden units")
    add("--batch_size", type=cli.positive_int, default=128, help="palindromes an update")
    add("--output", type=cli.path, default=cli.ROOT / "runs" / "benchmark", help="folder for the tables and the figure")
    return parser.parse(argv)


class TorchNetwork(nn.Module):
    """torch's own recurrent network with a linear output, on the inputs that `encode` makes of digits."""

    def __init__(self, recurrent, encode, num_hidden):
        super().__init__()
        self.encode = encode
        self.recurrent = recurrent(DIGITS, num_hidden, batch_first=True)
        self.output = nn.Linear(num_hidden, DIGITS)

    def forward(self, digits):
        return self.output(self.recurrent(self.encode(digits))[0][:, -1])


def make_update(model_type, contestant, length, config):
    """A function that does one whole update of `contestant` and returns its time in seconds.

    The batch is drawn before the clock starts, and the loss of the last update lives on, as in a training loop.
    """
    ours, torchs = MODELS[model_type]
    network = ours(length - 1, DIGITS, config.num_hidden, DIGITS)
    network.backward_pass = contestant
    if contestant == "torch":
        network = TorchNetwork(torchs, network.encode, config.num_hidden)
    optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-3, foreach=True)  # as in part1.train
    dataset = PalindromeDataset(length)
    kept = {}

    def update():
        digits, labels = dataset.batch(config.batch_size)
        start = time.perf_counter()
        kept["loss"] = loss = cross_entropy(network(digits), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        return time.perf_counter() - start

    return update


def make_floor(model_type, length, config):
    """A function that does only the matrix products of an update, those of `part1.bptt`, and returns its time."""
    cell, n = MODELS[model_type][0].unrolled, config.num_hidden
    rows, width = len(cell.gates) * n, n + DIGITS + 1

    def products(x):
        batch = len(x)
        W, inputs = torch.randn(rows, width) / n, torch.randn(width, batch)
        a, dh, dW = torch.empty(rows, batch), torch.empty(n, batch), torch.empty(width, rows)

        def run_all():
            dW.zero_()
            with bptt.few_threads(W.numel() * batch):
                for t in range(length - 1):
                    start = 0 if t else n  # h(0) = 0 takes no part
                    torch.mm(W[:, start:], inputs[start:], out=a)
                    dW[start:].addmm_(inputs[start:], a.T)
                    if t:
                        torch.mm(W.T[:n], a, out=dh)

        return run_all

    shares = [products(x) for x in bptt.parts(cell, torch.empty(config.batch_size, length - 1, DIGITS), n)]

    def update():
        start = time.perf_counter()
        bptt.side_by_side(shares)
        return time.perf_counter() - start

    return update


def quartiles(values):
    """Median, lower and upper quartile."""
    return [float(np.percentile(values, q)) for q in (50, 25, 75)]


def settings(config):
    """Pairs of an OpenMP policy and the numbers of threads to measure with it: to one thread it means nothing."""
    first, *others = dict.fromkeys(config.wait_policies)
    threads = list(dict.fromkeys(config.threads))
    several = [count for count in threads if count > 1]
    return [(first, threads), *((policy, several) for policy in others if several)]


def measure_times(config, policy, all_threads):
    """Rows of `benchmark.csv`: milliseconds an update, and the ratios of `RATIOS` with their quartiles.

    To be called in a process that was started with `OMP_WAIT_POLICY` set to `policy`.
    """
    rows = []
    order = random.Random(0)
    turns = (config.repeats + 2) * len(config.models) * len(config.lengths) * len(all_threads)
    progress = tqdm(total=turns, unit=" rounds", desc=policy, disable=not sys.stderr.isatty(), dynamic_ncols=True)
    for threads in all_threads:
        torch.set_num_threads(threads)
        for model_type in config.models:
            for length in config.lengths:
                functions = {name: make_floor(model_type, length, config) if name == "floor" else
                             make_update(model_type, name, length, config) for name in CONTESTANTS}
                seconds = {name: [] for name in CONTESTANTS}
                for turn in range(-2, config.repeats):  # the first two only warm up
                    for name in order.sample(CONTESTANTS, len(CONTESTANTS)):
                        used = functions[name]()
                        if turn >= 0:
                            seconds[name].append(used)
                    progress.update()
                row = {"model_type": model_type, "threads": threads, "T": length}
                for name in CONTESTANTS:
                    row |= {f"{name}{part}": f"{1000 * value:.4g}"
                            for part, value in zip(("_ms", "_q1", "_q3"), quartiles(seconds[name]))}
                for over, under in RATIOS:
                    ratios = np.divide(seconds[over], seconds[under])
                    row |= {f"{over}/{under}{part}": f"{value:.3f}"
                            for part, value in zip(("", "_q1", "_q3"), quartiles(ratios))}
                rows.append(row | {"OMP_WAIT_POLICY": policy})
    progress.close()
    return rows


def in_new_process(function, *args, policy="passive"):
    """`function(*args)` in a new process, where OpenMP's threads wait as `policy` says."""
    with mock.patch.dict(os.environ, OMP_WAIT_POLICY=policy):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, *args).result()


def peak_megabytes(model_type, contestant, length, config):
    """Resident memory (megabytes) of this process before its first update, and at its highest in the first three."""
    unit = 1 if sys.platform == "darwin" else 1024
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    update = make_update(model_type, contestant, length, config)
    for _ in range(3):
        update()
    return [round(size * unit / 1e6) for size in (before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)]


def measure_memory(config):
    """Rows of `memory.csv`: peak resident memory of training, each in a new process."""
    rows = []
    jobs = [(model_type, length, name) for model_type in config.models for length in config.memory_lengths
            for name in CONTESTANTS if name != "floor"]
    for model_type, length, name in tqdm(jobs, desc="memory", disable=not sys.stderr.isatty(), dynamic_ncols=True):
        before, peak = in_new_process(peak_megabytes, model_type, name, length, config)
        rows.append({"model_type": model_type, "T": length, "network": name, "before_MB": before, "peak_MB": peak})
    return rows


class NumpyPalindromes(Dataset):
    """Palindromes one at a time from numpy, as per-item datasets draw them: all digits in one call, or one by one."""

    def __init__(self, length, one_by_one=False):
        self.length, self.one_by_one = length, one_by_one

    def __len__(self):
        return sys.maxsize

    def __getitem__(self, index):
        free = (self.length + 1) // 2
        half = np.array([np.random.randint(0, 10) for _ in range(free)]) if self.one_by_one \
            else np.random.randint(0, 10, free)
        palindrome = np.concatenate([half, half[:self.length // 2][::-1]])
        return palindrome[:-1].astype(np.float32), int(palindrome[-1])


def measure_data(config):
    """Rows of `data.csv`: examples per second of `ds.batch` and of `DataLoader`s over single ones, on one thread."""
    torch.set_num_threads(1)
    rows = []
    for length in tqdm(config.lengths, desc="data", disable=not sys.stderr.isatty(), dynamic_ncols=True):
        dataset = PalindromeDataset(length)
        loaders = {name: iter(DataLoader(items, config.batch_size)) for name, items in
                   (("ds[i]", dataset), ("numpy", NumpyPalindromes(length)),
                    ("digit by digit", NumpyPalindromes(length, one_by_one=True)))}
        sources = {"batch": partial(dataset.batch, config.batch_size)} | {
            name: partial(next, loader) for name, loader in loaders.items()}
        speeds = {name: [] for name in sources}
        for turn in range(-2, config.repeats):
            for name, draw in sources.items():
                count = 20 if name == "batch" else 1  # so that a turn of each is long enough to time
                start = time.perf_counter()
                for _ in range(count):
                    draw()
                if turn >= 0:
                    speeds[name].append(count * config.batch_size / (time.perf_counter() - start))
        row = {"T": length} | {f"{name}_examples/s": f"{quartiles(speed)[0]:.4g}" for name, speed in speeds.items()}
        for name in loaders:
            row |= {f"batch/{name}{part}": f"{value:.4g}" for part, value in zip(
                ("", "_q1", "_q3"), quartiles(np.divide(speeds["batch"], speeds[name])))}
        rows.append(row)
    return rows


def draw(rows, path, sources=()):
    """Draw `rows` of `benchmark.csv`: time of an update against T, a row of panels for each way to use threads."""
    models = list(dict.fromkeys(row["model_type"] for row in rows))
    ways = list(dict.fromkeys((int(row["threads"]), row["OMP_WAIT_POLICY"]) for row in rows))
    figure, panels = style.plt.subplots(len(ways), len(models), squeeze=False, sharex=True, sharey=True,
                                        figsize=(style.WIDTH, 0.6 + 1.8 * len(ways)))
    for axes_row, (threads, policy) in zip(panels, ways):
        for axes, model_type in zip(axes_row, models):
            curve = sorted((row for row in rows if (row["model_type"], int(row["threads"]), row["OMP_WAIT_POLICY"])
                            == (model_type, threads, policy)), key=lambda row: int(row["T"]))
            T = [int(row["T"]) for row in curve]
            for name in CONTESTANTS:
                median, low, high = ([float(row[name + part]) for row in curve] for part in ("_ms", "_q1", "_q3"))
                axes.plot(T, median, "--" if name == "floor" else "o-", markersize=3, color=COLORS[name],
                          label=LABELS[name])
                axes.fill_between(T, low, high, color=COLORS[name], alpha=0.2, linewidth=0)
            way = "1 thread" if threads == 1 else \
                f"{threads} threads that {'sleep' if policy == 'passive' else 'spin'}"
            axes.set(title=f"{model_type}, {way}", xscale="log", yscale="log", xticks=T, xticklabels=T)
            axes.minorticks_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("time of an update (ms)")
    for axes in panels[-1]:
        axes.set_xlabel("palindrome length $T$")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=7)
    return style.save(figure, path, sources)


def print_times(rows):
    """The table of times: medians in milliseconds, ratios with their quartiles."""
    ratios = [f"{over}/{under}" for over, under in RATIOS]
    print(f"{'network':8}{'threads':>7} {'policy':8}{'T':>6}" + "".join(f"{name + ' ms':>13}" for name in CONTESTANTS)
          + "".join(f"{name:>23}" for name in ratios))
    for row in rows:
        spreads = [f"{row[name]} ({row[name + '_q1']}–{row[name + '_q3']})" for name in ratios]
        print(f"{row['model_type']:8}{row['threads']:7} {row['OMP_WAIT_POLICY']:8}{row['T']:6}"
              + "".join(f"{row[name + '_ms']:>13}" for name in CONTESTANTS)
              + "".join(f"{spread:>23}" for spread in spreads))


def print_table(rows):
    """Any other table."""
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in [dict(zip(rows[0], rows[0])), *rows]:
        print("  ".join(f"{row[key]:>{width}}" for key, width in widths.items()))


def main(config):
    config.output.mkdir(parents=True, exist_ok=True)
    tables = {"memory": measure_memory(config), "data": in_new_process(measure_data, config), "benchmark": [
        row for policy, threads in settings(config)
        for row in in_new_process(measure_times, config, policy, threads, policy=policy)]}
    for name, rows in tables.items():
        if rows:
            run.write_csv(config.output / f"{name}.csv", rows)
    print(f"torch {torch.__version__}, batch {config.batch_size}, {config.num_hidden} units; "
          "ratios: median (quartiles)")
    print_times(tables["benchmark"])
    for name in ("memory", "data"):
        if tables[name]:
            print()
            print_table(tables[name])
    png = draw(tables["benchmark"], config.output / "benchmark", [config.output / "benchmark.csv"])
    print(f"figure: {run.shorter(png)}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
