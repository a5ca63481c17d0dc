"""Speeds of Part 2 side by side, each against the plain way to do the same, in one run.

    python -m part2.benchmark                                              # some minutes, at the course's settings
    python -m part2.benchmark --updates 30 --bf16_updates 50 --repeats 2 --length 50
    python -m part2.benchmark --processes 2                                # also two processes by torchrun against one

What is compared takes short turns, so that a busy machine slows down both sides, and each ratio is that of one turn.
The table and `benchmark.csv` in `--output` give medians, and the quartiles of the ratio.

| row                         | ours                                      | the other side                           |
| --------------------------- | ----------------------------------------- | ---------------------------------------- |
| training / bare loop        | an update of `part2.train_text.train`     | `nn.LSTM`, linear, loss, clipping, Adam; |
|                             | with its metrics, between two samplings   | one-hot inputs made before the clock     |
| training / slow loader      | the same                                  | the bare loop, but a `DataLoader` that   |
|                             |                                           | encodes a window character by character  |
| training, bf16 / fp32       | an update of `train` with bf16            | the same with fp32                       |
| loss, bf16 / fp32           | mean of its last ten rows of metrics      | that of fp32: same seed, same batches    |
| generation / one at a time  | `generate`: 64 texts, a character a step  | one text, all of it read again for every |
|                             |                                           | character, gradients off                 |
| training, N processes / 1   | updates of N processes by torchrun, one   | one process, one thread: the same batch  |
|                             | thread each, with `--processes N`         |                                          |
"""
import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, run  # before torch, see part1/run.py
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader, Dataset, RandomSampler

from part2 import train_text
from part2.dataset import TextDataset
from part2.generate import ROWS, generate
from part2.model import make_model

READY = 30  # batches that the bare loop goes round in
PROCESS_UPDATES = 200  # of a training in processes of its own, at most: a turn


def parse_args(argv=None):
    """Parse the flags of `python -m part2.benchmark`."""
    parser = cli.Parser("part2.benchmark", "Measure the speeds of Part 2, each against the plain way to do the same.")
    add = parser.add_argument
    add("--txt_file", default=str(cli.ROOT / "assets" / "fables.txt"), help="the text to train on, UTF-8")
    add("--updates", type=cli.number(int, at_least=15), default=600, help="updates of each training; five are a turn")
    add("--bf16_updates", type=cli.number(int, at_least=50), default=500,
        help="updates after which the loss with bf16 is compared; fifty are a turn")
    add("--repeats", type=cli.positive_int, default=7, help="turns of the generation, and of each --processes")
    add("--processes", type=cli.number(int, at_least=2), nargs="+", default=[], metavar="N",
        help="also train with N processes by torchrun, and compare with one (default: no)")
    add("--length", type=cli.number(int, at_least=2), default=200, help="characters of a generated text")
    add("--seed", type=cli.seed, default=0, help="of weights, batches and samples")
    add("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps")
    add("--output", type=cli.path, default=cli.ROOT / "runs" / "text_benchmark", help="folder of the results")
    return parser.parse(argv)


class SlowDataset(Dataset):
    """Windows as the course's template makes them: two lists of numbers, looked up one character at a time."""

    def __init__(self, text):
        self.text, self.length, self.seq_length = text.text, len(text), text.seq_length
        self.numbers = {character: number for number, character in enumerate(text.characters)}

    def __len__(self):
        return self.length

    def __getitem__(self, start):
        inputs = [self.numbers[character] for character in self.text[start:start + self.seq_length]]
        targets = [self.numbers[character] for character in self.text[start + 1:start + self.seq_length + 1]]
        return inputs, targets


def plain_training(config, text, batches):
    """Train on `batches` (one-hot inputs (batch, T, K), targets (batch, T)), nothing around it; yields each loss."""
    settings, device = train_text.parse_args([]), run.choose_device(config.device)
    torch.manual_seed(config.seed)
    lstm = nn.LSTM(text.vocab_size, settings.lstm_num_hidden, settings.lstm_num_layers, batch_first=True).to(device)
    linear = nn.Linear(settings.lstm_num_hidden, text.vocab_size).to(device)
    parameters = [*lstm.parameters(), *linear.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
    for inputs, targets in batches:
        loss = cross_entropy(linear(lstm(inputs)[0]).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.max_norm)
        optimizer.step()
        yield loss


def ready_batches(config, text, batch_size):
    """Batches for `plain_training`, all of them in memory."""
    device = run.choose_device(config.device)
    batches = [text.batch(batch_size, run.generator(config.seed, f"batch {k}")) for k in range(READY)]
    return itertools.cycle([(one_hot(inputs, text.vocab_size).float().to(device), targets.contiguous().to(device))
                            for inputs, targets in batches])


def slow_batches(config, text, batch_size):
    """Batches for `plain_training` from a `DataLoader` over a `SlowDataset`."""
    device, dataset = run.choose_device(config.device), SlowDataset(text)
    sampler = RandomSampler(dataset, replacement=True, num_samples=config.updates * batch_size)
    for inputs, targets in DataLoader(dataset, batch_size, sampler=sampler):
        inputs, targets = (torch.stack(columns, dim=1) for columns in (inputs, targets))
        yield one_hot(inputs, text.vocab_size).float().to(device), targets.to(device)


def do_updates(training, number):
    """Let a `plain_training` do `number` updates; returns the seconds they took."""
    started = time.perf_counter()
    *_, loss = itertools.islice(training, number)
    loss.item()  # waits for a GPU
    return time.perf_counter() - started


def training_flags(config, folder, *flags):
    """Flags of `part2.train_text` for a training in `folder` that is sampled at its thirds alone."""
    return ["--txt_file", os.path.abspath(config.txt_file), "--seed", str(config.seed), "--device", config.device,
            "--sample_every", "1000000", "--output", str(folder), *flags]


def train(config, folder, *flags, others=()):
    """Train with `part2.train_text` in `folder` (or go on there), and let `others` do as many updates after each row.

    Returns for each row the seconds of an update, (ours, *others), without the first one and those between whose
    updates samples and a checkpoint were written.
    """
    resume = ["--resume"] if (folder / "checkpoint.pt").exists() else []
    settings = train_text.parse_args(training_flags(config, folder, *resume, *flags))
    log, turns = run.Run.log, []
    stages = train_text.stages(settings.train_steps)
    step, started = None, None

    def log_and_hand_over(current, **values):
        nonlocal step, started
        log(current, **values)
        seconds = time.perf_counter() - started if step is not None else None
        updates = current.step - (step or 0)
        others_seconds = [do_updates(other, updates) for other in others]
        if step is not None and not any(step <= stage < current.step for stage in stages):
            turns.append([s / updates for s in (seconds, *others_seconds)])
        step, started = current.step, time.perf_counter()

    with mock.patch.object(run.Run, "log", log_and_hand_over):
        train_text.train(settings, quiet=True)
    return turns


def updates_per_second(config, processes):
    """The median over the rows of a training by so many processes, with one thread each."""
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"] * (processes > 1)
    with tempfile.TemporaryDirectory() as folder:
        flags = training_flags(config, folder, "--train_steps", str(min(config.updates, PROCESS_UPDATES)))
        done = subprocess.run([sys.executable, "-m", *torchrun, train_text.SCRIPT, *flags], cwd=cli.ROOT, text=True,
                              capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode:
            why = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            raise cli.RunFailed(f"{processes} processes could not train: {' '.join(why) or done.stderr[-200:]}")
        rows = run.read_metrics(Path(folder) / "metrics.csv")
    return np.median([(row["step"] - before["step"]) / (row["seconds"] - before["seconds"])
                      for before, row in zip(rows, rows[1:])])


@torch.inference_mode()
def one_at_a_time(model, vocabulary, length, generator):
    """Sample one text at temperature 1 and read all of it again for each of its characters."""
    device = next(model.parameters()).device
    characters = torch.randint(vocabulary.vocab_size, (1, 1), generator=generator)
    while characters.shape[1] < length:
        logits, _ = model(characters.to(device))
        drawn = torch.multinomial(logits[:, -1].softmax(dim=1).cpu(), 1, generator=generator)
        characters = torch.cat([characters, drawn], dim=1)
    return vocabulary.convert_to_string(characters[0])


def seconds_of(function, *arguments):
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def compare(name, unit, turns, wanted):
    """A row of the table from `turns`, pairs (ours, the other side); the ratio is ours divided by the other."""
    ours, other = np.array(turns).T
    low, ratio, high = np.quantile(ours / other, [0.25, 0.5, 0.75])
    return {"comparison": name, "unit": unit, "ours": np.median(ours), "other": np.median(other), "ratio": ratio,
            "quartile_1": low, "quartile_3": high, "turns": len(ours), "wanted": wanted}


def benchmark(config):
    """All measurements; returns the rows of the table, dicts."""
    settings, device = train_text.parse_args(["--txt_file", config.txt_file]), run.choose_device(config.device)
    text, _ = train_text.read_book(settings)
    config.output.mkdir(parents=True, exist_ok=True)  # now, as an error would come too late after the measurements
    plain = [plain_training(config, text, batches(config, text, settings.batch_size))
             for batches in (ready_batches, slow_batches)]
    with tempfile.TemporaryDirectory() as folder:
        turns = train(config, Path(folder) / "training", "--train_steps", str(config.updates), others=plain)
        bf16, folders = [], {precision: Path(folder) / precision for precision in ("bf16", "fp32")}
        for updates in range(50, config.bf16_updates + 50, 50):
            flags = ["--train_steps", str(min(updates, config.bf16_updates))]
            both = [train(config, folders[precision], "--precision", precision, *flags) for precision in folders]
            bf16.append([np.mean(seconds) for seconds in both])
        losses = [np.mean([row["loss"] for row in run.read_metrics(path / "metrics.csv")[-10:]])
                  for path in folders.values()]

    torch.manual_seed(config.seed)
    model = make_model(settings, text.vocab_size, device).eval()
    generator, generation = torch.Generator().manual_seed(config.seed), []
    for _ in range(config.repeats):
        ours = seconds_of(generate, model, text, config.length, "", 1.0, ROWS, generator)
        other = seconds_of(one_at_a_time, model, text, config.length, generator)
        generation.append((ROWS * config.length / ours, config.length / other))

    processes = [(N, [(updates_per_second(config, N), updates_per_second(config, 1)) for _ in range(config.repeats)])
                 for N in config.processes]
    return [
        compare("training / bare loop", "s an update", [(ours, bare) for ours, bare, _ in turns], "at most 1.05"),
        compare("training / slow loader", "s an update", [(ours, slow) for ours, _, slow in turns], "below 1"),
        compare("training, bf16 / fp32", "s an update", bf16, "to be known"),
        compare("loss, bf16 / fp32", f"nats, update {config.bf16_updates}", [losses], "0.98 to 1.02"),
        compare("generation / one at a time", "characters/s", generation, "at least 200"),
        *(compare(f"training, {N} processes / 1", "updates/s", turns, "to be known") for N, turns in processes),
    ]


def table(rows):
    """The rows as text for people."""
    lines = [f"{'ours / the other':28}{'unit':20}{'ours':>10}{'other':>10}{'ratio':>9}   {'quartiles':15}turns  wanted"]
    for row in rows:
        lines.append(f"{row['comparison']:28}{row['unit']:20}{row['ours']:10.4g}{row['other']:10.4g}{row['ratio']:9.3f}"
                     f"   {row['quartile_1']:.3f} – {row['quartile_3']:<7.3f}{row['turns']:6}  {row['wanted']}")
    return "\n".join(lines)


def main(config):
    rows = benchmark(config)
    run.write_csv(config.output / "benchmark.csv", rows)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, on {config.device}\n{table(rows)}")
    print(f"results: {run.shorter(config.output / 'benchmark.csv')}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
