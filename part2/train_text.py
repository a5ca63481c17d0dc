"""Train a two-layer LSTM to predict the next character of a book, and read what it writes on the way (Question 2.1).

    python -m part2.train_text --train_steps 3000                          # on the built-in fables
    python -m part2.train_text --txt_file book.txt --strip_gutenberg --eval_fraction 0.05 --output runs/book
    python -m part2.train_text --preset best --txt_file book.txt --strip_gutenberg --output runs/best    # an hour
    python -m part2.train_text --output runs/book --resume                 # after Ctrl-C, bit-identical
    torchrun --nproc_per_node=2 -m part2.train_text --output runs/both     # see part2/parallel.py

Flags and defaults are the course's; `PRESETS` has others. `samples.txt` in the run's folder collects five sentences of
15, 30 and 90 characters every --sample_every updates and at 1/3, 2/3 and 3/3 of the training; `part2.generate` writes
more. With held-out text, `best.pt` is the checkpoint of the evaluation with the lowest loss so far: early stopping.
"""
import contextlib
import hashlib
import math
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch.nn.functional import cross_entropy

from part1 import cli, files, run
from part1.cli import InputError
from part2 import parallel
from part2.dataset import TextDataset
from part2.generate import generate
from part2.model import autocast, bf16_kernels, evaluating, make_model

SCRIPT = "part2.train_text"
SAMPLES, SAMPLE_LENGTHS = 5, (15, 30, 90)
PRESETS = {
    "course": {},
    "best": {  # under an hour on one core, with a book of half a million characters
        "lstm_num_hidden": 384,  # three times the course's
        "seq_length": 50, "batch_size": 32, "carry_state": True,  # many small updates; the state brings what is older
        "dropout_keep_prob": 0.6, "recurrent_keep_prob": 0.8, "weight_decay": 0.1,  # against learning it by heart
        "learning_rate": 4e-3, "schedule": "cosine", "train_steps": 7000,  # fast at first, and to a rate of zero
        "eval_fraction": 0.05, "sample_every": 100, "print_every": 25,
    },
}


def book_path(text):
    """An argparse `type`: a path as a str, absolute, as a run may go on from another folder.

    One inside the repository is relative to that, as the repository may move.
    """
    path = cli.path(text).absolute()
    return str(path.relative_to(files.ROOT) if path.is_relative_to(files.ROOT) else path)


def parse_args(argv=None):
    """Parse the flags of `python -m part2.train_text`; a wrong one ends in one line and exit status 2."""
    parser = cli.Parser(SCRIPT, "Train a character-level LSTM on a text.")
    add = parser.add_argument
    add("--txt_file", type=book_path, default=str(files.ROOT / "assets" / "fables.txt"),
        help="the text to train on, UTF-8")
    add("--strip_gutenberg", action="store_true", help="leave out Project Gutenberg's header and licence")
    add("--seq_length", type=cli.positive_int, default=30, help="characters in a training window, T")
    add("--lstm_num_hidden", type=cli.positive_int, default=128, help="units of each LSTM layer")
    add("--lstm_num_layers", type=cli.number(int, at_least=1, at_most=1000), default=2, help="LSTM layers")
    add("--batch_size", type=cli.positive_int, default=64, help="windows per update")
    add("--learning_rate", type=cli.number(float, above=0, at_most=1e6), default=2e-3, help="step size of Adam")
    add("--learning_rate_decay", type=cli.number(float, above=0, at_most=1), default=0.96,
        help="factor on the learning rate every --learning_rate_step")
    add("--learning_rate_step", type=cli.positive_int, default=5000, help="updates from one decay to the next")
    add("--schedule", choices=["step", "cosine"], default="step",
        help="of the learning rate: step is the course's decay; cosine falls to zero at the end, so that the weights "
             "settle and do not end in the noise of their last updates")
    add("--weight_decay", type=cli.number(float, at_least=0, at_most=1e6), default=0.0,
        help="pull every weight towards zero (AdamW), which keeps a large network from learning a short text by heart")
    add("--dropout_keep_prob", type=cli.number(float, above=0, at_most=1), default=1.0,
        help="share of each layer's outputs that dropout keeps")
    add("--recurrent_keep_prob", type=cli.number(float, above=0, at_most=1), default=1.0,
        help="share of the recurrent weights that an update keeps: weight drop")
    add("--carry_state", action="store_true",
        help="go through the text in --batch_size streams, each window after the last and on from its state, to learn "
             "from more than T characters back (default: random windows from a zero state)")
    add("--max_norm", type=cli.positive_float, default=5.0, help="clip the norm of the gradient to this")
    add("--summary_path", type=cli.path_text, default="./summaries/",
        help="folder for TensorBoard, if that is installed")
    add("--print_every", type=cli.positive_int, default=5, help="updates from one row of metrics to the next")
    add("--sample_every", type=cli.positive_int, default=100,
        help="updates from one sampling, held-out evaluation and checkpoint to the next")
    add("--temperature", type=cli.number(float, at_least=0, infinite=True), metavar="TAU",
        help="of the samples, multiplies the logits (default: greedy)")
    add("--gen_input", default="", metavar="TEXT", help="how the samples begin (default: a random character)")
    add("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: mixed precision by autocast")
    add("--eval_fraction", type=cli.number(float, at_least=0, below=1), default=0.0,
        help="share of the text, at its end, to hold out and evaluate on")
    run.add_flags(parser, train_steps=1_000_000)
    add("--preset", choices=PRESETS, default="course",
        help="defaults of the other flags: the course's, or our best model's, which trains for an hour on a book")
    config = parser.parse_typed(argv)
    for name, value in PRESETS[config.preset].items():
        if name not in config.typed:
            setattr(config, name, value)
            config.typed.add(name)
    del config.preset  # its flags are what a run is made of
    config.typed.discard("preset")
    cli.refuse_oversize(max(16 * config.lstm_num_layers * config.lstm_num_hidden**2,
                            2 * config.batch_size * config.seq_length))
    if config.temperature == math.inf:
        config.temperature = None  # greedy too; JSON has no infinity
    return config


def stages(train_steps):
    """The updates that end the first, second and third third of a training."""
    return [math.ceil(train_steps * third / 3) for third in (1, 2, 3)]


def read_book(config):
    """The training windows, and the held-out tail (int64, or None) that `--eval_fraction` asks for."""
    text = TextDataset(files.ROOT / config.txt_file, config.seq_length, config.strip_gutenberg)
    return text, text.hold_out(config.eval_fraction) if config.eval_fraction else None


def identity(text):
    """What a checkpoint says of the `TextDataset` it was trained on."""
    return {"vocabulary": text.characters, "sha256": hashlib.sha256(text.text.encode()).hexdigest()}


@torch.no_grad()
def evaluate(model, characters, streams=32):
    """Cross-entropy (nats per character) and accuracy on a text, int64 (characters,), read once with its state carried.

    The text is read as `streams` pieces side by side, as long as they have at least a hundred characters each.
    """
    streams = max(1, min(streams, len(characters) // 100))
    length = (len(characters) - 1) // streams
    inputs = characters[:streams * length].view(streams, length)
    targets = characters[1:streams * length + 1].view(streams, length)
    state, total, hits = None, 0.0, 0
    with evaluating(model):
        for some_inputs, some_targets in zip(inputs.split(100, dim=1), targets.split(100, dim=1)):
            logits, state = model(some_inputs, state)
            total += cross_entropy(logits.flatten(0, 1), some_targets.flatten(), reduction="sum").item()
            hits += (logits.argmax(dim=2) == some_targets).sum().item()
    return total / targets.numel(), hits / targets.numel()


def learning_rate_at(step, config):
    """The learning rate of update `step`, the first of which is 1."""
    if config.schedule == "cosine":
        return config.learning_rate * (1 + math.cos(math.pi * (step - 1) / config.train_steps)) / 2
    return config.learning_rate * config.learning_rate_decay ** ((step - 1) // config.learning_rate_step)


def zero_state(config, device):
    """The state that --carry_state hands on: buffers `h` and `c` of a module, which is what checkpoints can save."""
    carried = torch.nn.Module()
    for name in ("h", "c"):
        shape = config.lstm_num_layers, config.batch_size, config.lstm_num_hidden
        carried.register_buffer(name, torch.zeros(shape, device=device))
    return carried


def keep_best(current):
    """Copy the checkpoint to `best.pt` where its held-out loss is the lowest of the run."""
    losses = {row["step"]: row["eval_loss"] for row in current.rows if row["eval_loss"] is not None}
    if losses and min(losses, key=losses.get) == current.step:
        files.write_atomically(current.folder / "best.pt", (current.folder / "checkpoint.pt").read_bytes())


def write_samples(model, text, config, step):
    """A block of `samples.txt`: the same sentences cut at each of `SAMPLE_LENGTHS`, line ends shown as ↵."""
    lengths = [len(config.gen_input) + length for length in SAMPLE_LENGTHS]
    sentences = generate(model, text, lengths[-1], config.gen_input, config.temperature, SAMPLES,
                         run.generator(config.seed, f"samples at update {step}"))
    lines = [f"update {step} of {config.train_steps}"]
    for k, sentence in enumerate(sentences):
        lines += [f"  {k}, {length:2} characters: {sentence[:length]}".replace("\n", "↵") for length in lengths]
    return "\n".join(lines) + "\n\n"


def tensorboard(config, quiet):
    """What opens a writer for TensorBoard: its `SummaryWriter`, or where that is missing a function that gives None.

    Raises `OSError` when --summary_path cannot be written.
    """
    def no_writer(folder, purge_step):
        if not quiet:
            print("TensorBoard is not installed: metrics go to metrics.csv alone")
        return contextlib.nullcontext()

    try:
        from torch.utils.tensorboard import SummaryWriter
    except Exception:  # not ImportError alone: an old TensorBoard beside a new protobuf raises TypeError
        return no_writer
    if parallel.RANK > 0:  # rank 0 writes
        return no_writer
    Path(config.summary_path).mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=config.summary_path).close()
    return SummaryWriter


def train(config, quiet=False):
    """Train as `config` (from `parse_args`) says.

    Returns a dict: `steps`, `loss` and `accuracy` (last batch), `eval_loss`, `eval_accuracy` and `bits_per_character`
    (held-out text, or None), `seconds` and `folder`.
    Raises `InputError` or `OSError` before anything is written, `cli.RunFailed` or `cli.Interrupted` afterwards.
    """
    config, device = parallel.begin(SCRIPT, config)
    text, held_out = read_book(config)
    held_out = held_out.to(device) if held_out is not None else None
    cli.refuse_oversize(config.batch_size * config.seq_length * text.vocab_size)
    text.encode(config.gen_input)  # an unknown character is an error now, not when the first samples are due
    model = make_model(config, text.vocab_size, device)
    # AdamW without weight decay is Adam.
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    training_data = run.generator(config.seed, "training data")
    kernels = config.precision == "fp32" or bf16_kernels(device)
    if not (kernels or quiet):
        print("this CPU has no units for bf16: it works, but many times slower than fp32")
    parts = {"model": model, "optimizer": optimizer, "training_data": training_data}
    if config.carry_state:
        if parallel.SIZE > 1:
            raise InputError("--carry_state is for a single process")
        parts["state"] = carried = zero_state(config, device)
        updates_per_pass = text.updates_per_pass(config.batch_size)
    open_summary = tensorboard(config, quiet)
    every = [config.print_every, config.sample_every]
    with parallel.open_run(SCRIPT, config, parts, every, identity(text), quiet) as current, \
            open_summary(Path(config.summary_path) / current.folder.name, purge_step=current.step + 1) as summary:
        keep_best(current)  # a run may have been killed before it could
        for step in current.updates():
            state = None
            if config.carry_state:
                batch = text.next_windows(config.batch_size, step - 1)
                if (step - 1) % updates_per_pass:
                    state = carried.h, carried.c
            else:
                batch = text.batch(config.batch_size, training_data)
            inputs, targets = (tensor.to(device) for tensor in parallel.share(batch))  # without torchrun, all of it
            weight = len(inputs) / config.batch_size
            with autocast(device, config.precision, kernels):
                logits, state = model(inputs, state)
            loss = weight * cross_entropy(logits.flatten(0, 1).float(), targets.flatten())  # (13): mean over time
            optimizer.zero_grad()
            loss.backward()
            parallel.sum_gradients(model)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_norm)
            current.check_finite(step, loss=loss.item(), gradient=norm.item())
            learning_rate = optimizer.param_groups[0]["lr"] = learning_rate_at(step, config)
            optimizer.step()
            if config.carry_state:
                carried.h.copy_(state[0].detach())
                carried.c.copy_(state[1].detach())

            sampling = run.due(step, config, config.sample_every)
            if run.due(step, config, *every):
                accuracy = weight * (logits.argmax(dim=2) == targets).float().mean()
                loss, accuracy = parallel.all_reduce(torch.stack([loss.detach(), accuracy])).tolist()
                row = {"loss": loss, "accuracy": accuracy, "learning_rate": learning_rate, "eval_loss": None,
                       "eval_accuracy": None, "bits_per_character": None}
                if sampling and held_out is not None:
                    row["eval_loss"], row["eval_accuracy"] = evaluate(model, held_out)
                    current.check_finite(step, held_out_loss=row["eval_loss"])
                    row["bits_per_character"] = row["eval_loss"] / math.log(2)
                current.log(step, **row)
                for name, value in row.items():
                    if summary and value is not None:
                        summary.add_scalar(name, value, step)
            if sampling or step in stages(config.train_steps):
                current.samples.append(write_samples(model, text, config, step))
                current.save(step)
                keep_best(current)

    last = files.read_csv(current.folder / "metrics.csv")[-1]  # each process of torchrun finds it there
    del last["learning_rate"]
    return {"steps": last.pop("step"), **last, "folder": str(current.folder)}


def main(config):
    result = train(config)
    bits = result["bits_per_character"]
    held_out = "" if bits is None else f", held-out {bits:.3f} bits per character"
    print(f"loss {result['loss']:.4f}, accuracy {result['accuracy']:.4f}{held_out} after {result['steps']} updates; "
          f"run in {files.display(result['folder'])}")


if __name__ == "__main__":
    sys.exit(parallel.main(parse_args, main))
