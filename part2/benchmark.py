"""Speeds of Part 2 side by side, each against the plain way to do the same, in one run.

    python -m part2.benchmark                            # some minutes, at the course's settings
    python -m part2.benchmark --updates 20 --repeats 2   # a first impression
    python -m part2.benchmark --processes 2              # also two processes by torchrun against one, a thread each

Training with `part2.train_text` is compared with `nn.LSTM`, linear, loss, clipping and Adam alone, on batches that were
drawn before or come from a `DataLoader` that encodes each window character by character. bf16 is compared with fp32 in
time and in the mean loss of the last ten rows of metrics. `generate` writes 64 texts at a time, the other side one, all
of it read again for every character. All take turns, so that a busy machine slows down both sides; a time per update is
the median over rows of metrics, and `benchmark.csv` in `--output` gives medians over turns and quartiles of the ratio.
"""
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from timeit import timeit

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader, RandomSampler

from part1 import cli, files, run
from part2 import train_text
from part2.dataset import TextDataset
from part2.generate import ROWS, generate
from part2.model import make_model


def parse_args(argv=None):
    """Parse the flags of `python -m part2.benchmark`."""
    parser = cli.Parser("part2.benchmark", "Measure the speeds of Part 2, each against the plain way to do the same.")
    add = parser.add_argument
    add("--txt_file", type=cli.path, default=files.ROOT / "assets" / "fables.txt",
        help="the text to train on, UTF-8")
    add("--updates", type=cli.number(int, at_least=10), default=100, help="updates of each training")
    add("--repeats", type=cli.positive_int, default=7, help="turns of everything")
    add("--processes", type=cli.number(int, at_least=2), nargs="+", default=[], metavar="N",
        help="also train with N processes by torchrun, and compare with one (default: no)")
    add("--length", type=cli.number(int, at_least=2), default=200, help="characters of a generated text")
    add("--seed", type=cli.seed, default=0, help="of the first turn; the next ones count on")
    add("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps")
    add("--output", type=cli.path, default=files.ROOT / "runs" / "text_benchmark", help="folder of the results")
    return parser.parse_args(argv)


def our_training(config, seed, *flags, processes=0):
    """Rows of metrics of `part2.train_text`, run here, or else in `processes` processes of one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--txt_file", str(config.txt_file.absolute()), "--device", config.device, "--seed", str(seed),
                 "--train_steps", str(config.updates), "--output", folder, *flags]
        if processes:
            torchrun = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
            launcher = torchrun if processes > 1 else []
            done = subprocess.run([sys.executable, "-m", *launcher, train_text.SCRIPT, *flags],
                                  cwd=files.ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
                                  capture_output=True, text=True)
            if done.returncode:
                raise cli.RunFailed(f"{processes} processes could not train: {done.stderr[:200]}")
        else:
            train_text.train(train_text.parse_args(flags), quiet=True)
        return files.read_csv(Path(folder) / "metrics.csv")


class SlowDataset(TextDataset):
    """Windows as simple code makes them: lists of numbers, looked up one character at a time."""

    def __getitem__(self, start):
        inputs = [self.numbers[character] for character in self.text[start:start + self.seq_length]]
        targets = [self.numbers[character] for character in self.text[start + 1:start + self.seq_length + 1]]
        return torch.tensor(inputs), torch.tensor(targets)


def bare_training(batches, settings, vocabulary_size, device):
    """Train on `batches` with nothing around it; returns rows as in `metrics.csv`."""
    lstm = nn.LSTM(vocabulary_size, settings.lstm_num_hidden, settings.lstm_num_layers, batch_first=True).to(device)
    linear = nn.Linear(settings.lstm_num_hidden, vocabulary_size).to(device)
    parameters = [*lstm.parameters(), *linear.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
    rows, started = [], time.perf_counter()
    for step, (inputs, targets) in enumerate(batches, 1):
        inputs, targets = one_hot(inputs.to(device), vocabulary_size).float(), targets.to(device)
        loss = cross_entropy(linear(lstm(inputs)[0]).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.max_norm)
        optimizer.step()
        if step % settings.print_every == 0:
            rows.append({"step": step, "loss": loss.item(), "seconds": time.perf_counter() - started})
    return rows


def seconds_per_update(rows):
    """The median over rows of metrics."""
    return np.median([(row["seconds"] - before["seconds"]) / (row["step"] - before["step"])
                      for before, row in itertools.pairwise(rows)])


@torch.inference_mode()
def one_at_a_time(model, vocabulary, length):
    """Sample one text at temperature 1 and read all of it again for each of its characters."""
    device = next(model.parameters()).device
    characters = torch.randint(vocabulary.vocab_size, (1, 1), device=device)
    while characters.shape[1] < length:
        logits, _ = model(characters)
        characters = torch.cat([characters, torch.multinomial(logits[:, -1].softmax(dim=1), 1)], dim=1)
    return vocabulary.convert_to_string(characters[0])


def one_turn(config, settings, text, device, seed):
    """What one turn measures: by comparison and unit, ours and the other side's."""
    fp32, bf16 = (our_training(config, seed, "--precision", precision) for precision in ("fp32", "bf16"))
    ready = [text.batch(settings.batch_size) for _ in range(config.updates)]
    sampler = RandomSampler(text, replacement=True, num_samples=config.updates * settings.batch_size)
    slow = DataLoader(text, settings.batch_size, sampler=sampler)
    bare, loaded = (bare_training(batches, settings, text.vocab_size, device) for batches in (ready, slow))
    model = make_model(settings, text.vocab_size, device).eval()
    measured = {
        ("training / bare loop", "s per update"): [seconds_per_update(rows) for rows in (fp32, bare)],
        ("training / slow loader", "s per update"): [seconds_per_update(rows) for rows in (fp32, loaded)],
        ("training, bf16 / fp32", "s per update"): [seconds_per_update(rows) for rows in (bf16, fp32)],
        ("loss, bf16 / fp32", "nats"): [np.mean([row["loss"] for row in rows[-10:]]) for rows in (bf16, fp32)],
        ("generation / one at a time", "characters/s"): (
            ROWS * config.length / timeit(lambda: generate(model, text, config.length, "", 1.0, ROWS), number=1),
            config.length / timeit(lambda: one_at_a_time(model, text, config.length), number=1))}
    for number in config.processes:
        measured[f"training, {number} processes / 1", "updates/s"] = [
            1 / seconds_per_update(our_training(config, seed, processes=processes)) for processes in (number, 1)]
    return measured


def main(config):
    settings, device = train_text.parse_args([]), run.choose_device(config.device)
    text = SlowDataset(config.txt_file, settings.seq_length)
    files.refuse_foreign(config.output / "benchmark.csv", ["comparison", "unit"])
    config.output.mkdir(parents=True, exist_ok=True)
    turns = [one_turn(config, settings, text, device, config.seed + k) for k in range(config.repeats)]
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, on {config.device}; ours / the other")
    rows = []
    for comparison, unit in turns[0]:
        ours, other = np.array([turn[comparison, unit] for turn in turns]).T
        low, ratio, high = np.quantile(ours / other, [0.25, 0.5, 0.75])
        rows.append({"comparison": comparison, "unit": unit, "ours": np.median(ours), "other": np.median(other),
                     "ratio": ratio, "quartile_1": low, "quartile_3": high})
        print(f"{comparison:28}{np.median(ours):10.4g}{np.median(other):10.4g} {unit:14}ratio {ratio:.3f} "
              f"({low:.3f} – {high:.3f})")
    files.write_csv(config.output / "benchmark.csv", rows)
    print(f"results: {files.display(config.output / 'benchmark.csv')}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
