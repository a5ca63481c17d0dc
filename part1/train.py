"""Train a recurrent network on palindromes and other toy data (Questions 1.2, 1.3, 1.6 of 2019; 1.3, 1.4 of 2020).

    python -m part1.train --model_type RNN --input_length 4              # the assignment's sanity check: T = 5
    python -m part1.train --model_type LSTM --input_length 99 --input_dim 10 --forget_bias chrono --target_accuracy 0.99
    python -m part1.train --output runs/mine; python -m part1.train --output runs/mine --resume --train_steps 20000

The flags and their defaults are the course's. With these, training is slow from T = 10 on; the presets of `part1.sweep`
are faster.
"""
import sys
from argparse import ArgumentTypeError
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch.nn.functional import cross_entropy

from part1 import cli, files, run
from part1.bi_lstm import BiLSTM
from part1.cli import InputError
from part1.dataset import DATASETS, make_dataset
from part1.gru import GRU
from part1.lstm import LSTM
from part1.peep_ablations import OutputPeepLSTM, RecurrentPeepLSTM, TanhPeepLSTM
from part1.peep_lstm import PeepLSTM
from part1.recurrent import INITS
from part1.vanilla_rnn import VanillaRNN

SCRIPT = "part1.train"
MODELS = {"RNN": VanillaRNN, "LSTM": LSTM, "PeepLSTM": PeepLSTM, "GRU": GRU, "BiLSTM": BiLSTM,
          "TanhPeepLSTM": TanhPeepLSTM, "RecurrentPeepLSTM": RecurrentPeepLSTM, "OutputPeepLSTM": OutputPeepLSTM}
OPTIMIZERS = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def forget_bias(text):
    """An argparse `type`: a number, or "chrono"."""
    try:
        return text if text == "chrono" else cli.number(float)(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"must be a number or chrono, not {text}") from None


def make_parser():
    """The parser of this script's flags."""
    parser = cli.Parser(SCRIPT, "Train a recurrent network on the toy data of Part 1.")
    add = parser.add_argument
    add("--model_type", choices=MODELS, default="RNN", help="network")
    add("--dataset", choices=DATASETS, default="palindrome", help="the task: that of 2019, or one of 2020's")
    add("--input_length", type=cli.positive_int, default=10,
        help="digits read, T - 1 for a palindrome of length T; for the datasets of 2020 their L")
    add("--input_dim", type=cli.positive_int, default=1,
        help="1: the digit itself; the number of symbols (10, 3 or L, by --dataset): its one-hot vector, which "
        "learns faster")
    add("--num_classes", type=cli.positive_int, help="outputs (default: the dataset's: 10, 2 or L)")
    add("--num_hidden", type=cli.positive_int, default=128, help="hidden units")
    add("--init", choices=INITS, default="xavier", help="initial weights; orthogonal: of the recurrent matrices; "
        "latch: the first digit decides the state for good")
    add("--forget_bias", type=forget_bias, metavar="VALUE|chrono",
        help="initial bias of the forget gate: a number, or chrono for memories of all lengths up to T (default: 0)")
    add("--batch_size", type=cli.positive_int, default=128, help="sequences per update")
    add("--optimizer", choices=OPTIMIZERS, default="rmsprop", help="optimizer")
    add("--learning_rate", type=cli.number(float, above=0, at_most=1e6), default=1e-3, help="step size")
    add("--momentum", type=cli.number(float, at_least=0, at_most=1), default=0.9, help="of sgd; the others ignore it")
    beta = cli.number(float, at_least=0, below=1)
    add("--beta1", type=beta, default=0.9, help="of adam: decay of its mean gradient; 0 and a --beta2 of 0.99 make it "
        "rmsprop with the bias correction that torch's rmsprop lacks")
    add("--beta2", type=beta, default=0.999, help="of adam: decay of its mean squared gradient")
    add("--freeze_recurrent", action="store_true", help="train only the output, W_ph and b_p")
    add("--max_norm", type=cli.positive_float, default=10.0, help="clip the norm of the gradient to this")
    add("--eval_every", type=cli.positive_int, default=250, help="evaluate and save every so many updates")
    add("--eval_size", type=cli.positive_int, default=10_000, help="sequences in the separate evaluation set")
    add("--backward", choices=["bptt", "autograd"], default="bptt",
        help="bptt: the hand-written derivatives of part1/bptt.py; autograd: the plain loop, same results, slower")
    add("--target_accuracy", type=cli.number(float, above=0, at_most=1),
        help="stop when two evaluations in a row reach this (default: train to the end)")
    run.add_flags(parser, train_steps=10_000)
    return parser


def parse_args(argv=None):
    """Parse the flags of `python -m part1.train`; a wrong one ends in one line and exit status 2."""
    parser = make_parser()
    config = parser.parse_typed(argv)
    try:
        if not config.resume:  # else the run has its flags, which `run.begin` compares
            complete(config)
    except InputError as error:
        parser.error(error)
    return config


def complete(config):
    """Fill in what the flags `config` leave to the dataset; `InputError` for flags that do not fit together."""
    cli.refuse_oversize(max(2 * config.num_hidden**2, (config.batch_size + config.eval_size) * config.input_length))
    dataset = make_dataset(config.dataset, config.input_length)
    if config.num_classes is None:
        config.num_classes = dataset.num_classes
    if config.num_classes < dataset.num_classes:
        raise InputError(f"--num_classes is at least the dataset's {dataset.num_classes}, not {config.num_classes}")
    if config.input_dim is None:  # one-hot: the presets of 2020 leave the width to the dataset
        config.input_dim = dataset.alphabet
    if config.input_dim not in (1, dataset.alphabet):
        raise InputError(f"--input_dim is 1 or {dataset.alphabet} for this dataset, not {config.input_dim}")
    MODELS[config.model_type].check_init(config.init, config.forget_bias)
    if config.init == "latch" and not dataset.label_is_first:
        raise InputError("--init latch holds the first symbol, which does not tell the label of this dataset")


def make_model(config, device="cpu"):
    """The network that `config` describes, its weights drawn from torch's global generator on the CPU."""
    model = MODELS[config.model_type](make_dataset(config.dataset, config.input_length).num_inputs, config.input_dim,
                                      config.num_hidden, config.num_classes)
    model.initialize(config.init, config.forget_bias)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in ("W_ph", "b_p") or not config.freeze_recurrent)
    model.backward_pass = config.backward
    return model.to(device)


def make_optimizer(config, parameters):
    """The `torch.optim` optimizer that `config` names, which updates all parameters in one call (foreach)."""
    own = {"rmsprop": {}, "adam": {"betas": (config.beta1, config.beta2)}, "sgd": {"momentum": config.momentum}}
    return OPTIMIZERS[config.optimizer](parameters, lr=config.learning_rate, foreach=True, **own[config.optimizer])


@torch.no_grad()
def evaluate(model, digits, labels):
    """Mean cross-entropy (nats) and accuracy on a set of sequences, in chunks whose one-hot vectors fit in memory."""
    loss = correct = 0.0
    size = max(1, min(1000, 10**7 // digits[0].numel()))
    for some_digits, some_labels in zip(digits.split(size), labels.split(size)):
        logits = model(some_digits)
        loss += cross_entropy(logits, some_labels, reduction="sum").item()
        correct += (logits.argmax(dim=1) == some_labels).sum().item()
    return loss / len(labels), correct / len(labels)


def steps_to_target(rows, target):
    """The update at which two evaluations in a row had reached `target`, or None."""
    for before, row in zip(rows, rows[1:]):
        if target is not None and min(before["accuracy"], row["accuracy"]) >= target:
            return row["step"]
    return None


def summary(rows, target):
    """The result of a run with these rows of metrics, a dict, see `train`."""
    last = rows[-1]
    return {"steps": last["step"], "loss": last["loss"], "eval_loss": last["eval_loss"], "accuracy": last["accuracy"],
            "best_accuracy": max(row["accuracy"] for row in rows), "steps_to_target": steps_to_target(rows, target),
            "seconds": last["seconds"]}


def train(config, quiet=False):
    """Train as `config` (from `parse_args`) says.

    Returns a dict: `steps`, `loss` (of the last batch, nats), `eval_loss`, `accuracy` (last evaluation),
    `best_accuracy`, `steps_to_target` (None if not reached), `seconds` and `folder`.
    Raises `InputError` or `OSError` before anything is written, `cli.RunFailed` or `cli.Interrupted` afterwards.
    """
    config, device = run.begin(SCRIPT, config)
    dataset = make_dataset(config.dataset, config.input_length)
    model = make_model(config, device)
    optimizer = make_optimizer(config, model.parameters())
    training_data = run.generator(config.seed, "training data")
    eval_digits, eval_labels = (tensor.to(device) for tensor in dataset.batch(
        config.eval_size, run.generator(config.seed, "evaluation data")))

    parts = {"model": model, "optimizer": optimizer, "training_data": training_data}
    with run.open_run(SCRIPT, config, parts, every=[config.eval_every], quiet=quiet) as current:
        for step in current.updates():
            if steps_to_target(current.rows, config.target_accuracy):
                break
            digits, labels = dataset.batch(config.batch_size, training_data)
            loss = cross_entropy(model(digits.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_norm)
            current.check_finite(step, loss=loss.item(), gradient=norm.item())
            optimizer.step()

            if run.due(step, config, config.eval_every):
                eval_loss, accuracy = evaluate(model, eval_digits, eval_labels)
                current.check_finite(step, evaluation_loss=eval_loss)
                current.log(step, loss=loss.item(), eval_loss=eval_loss, accuracy=accuracy)
                current.save(step)

    return summary(current.rows, config.target_accuracy) | {"folder": str(current.folder)}


def main(config):
    result = train(config)
    print(f"accuracy {result['accuracy']:.4f} (best {result['best_accuracy']:.4f}) after {result['steps']} updates; "
          f"run in {files.display(result['folder'])}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
