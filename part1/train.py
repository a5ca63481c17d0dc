"""Train an RNN, LSTM or peephole LSTM on palindromes (Questions 1.2, 1.3, 1.6 of 2019; 1.3, 1.4 of 2020).

    python -m part1.train --model_type RNN --input_length 4              # the assignment's sanity check: T = 5
    python -m part1.train --model_type LSTM --input_length 99 --input_dim 10 --forget_bias chrono --target_accuracy 0.99
    python -m part1.train --output runs/mine; python -m part1.train --output runs/mine --resume --train_steps 20000

The flags and their defaults are the course's. They learn slowly from T = 10 on; what learns faster is in `part1.sweep`.
"""
import sys
from argparse import ArgumentTypeError
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, run  # before torch, see there
import torch
from torch.nn.functional import cross_entropy

from part1.dataset import DATASETS, make_dataset
from part1.init import INITS, initialize
from part1.lstm import LSTM
from part1.peep_lstm import PeepLSTM
from part1.vanilla_rnn import VanillaRNN

SCRIPT = "part1.train"
MODELS = {"RNN": VanillaRNN, "LSTM": LSTM, "PeepLSTM": PeepLSTM}


def forget_bias(text):
    """An argparse `type`: a number, or "chrono"."""
    try:
        return text if text == "chrono" else cli.number(float)(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"must be a number or chrono, not {text}") from None


def parse_args(argv=None):
    """Parse the flags of `python -m part1.train`; a wrong one ends in one line and exit status 2."""
    parser = cli.Parser(SCRIPT, "Train a recurrent network to predict the last symbol of a palindrome.")
    add = parser.add_argument
    add("--model_type", choices=MODELS, default="RNN", help="network")
    add("--dataset", choices=DATASETS, default="palindrome", help="decimal (2019) or binary (2020) palindromes")
    add("--input_length", type=cli.positive_int, default=10,
        help="digits read, T - 1 for a palindrome of length T; for binary palindromes the even L of the 2020 script")
    add("--input_dim", type=cli.positive_int, default=1,
        help="1: the digit itself; the size of the alphabet (10; binary: 3): its one-hot vector, which learns faster")
    add("--num_classes", type=cli.positive_int, help="outputs (default: the dataset's, 10 or 2)")
    add("--num_hidden", type=cli.positive_int, default=128, help="hidden units")
    add("--init", choices=INITS, default="xavier", help="initial weights; orthogonal: of the recurrent matrices")
    add("--forget_bias", type=forget_bias, metavar="VALUE|chrono",
        help="initial bias of the forget gate: a number, or chrono for memories of all lengths up to T (default: 0)")
    add("--batch_size", type=cli.positive_int, default=128, help="palindromes an update")
    add("--optimizer", choices=["rmsprop", "adam", "sgd"], default="rmsprop", help="optimizer")
    add("--learning_rate", type=cli.number(float, above=0, at_most=1e6), default=1e-3, help="step size")
    add("--momentum", type=cli.number(float, at_least=0, at_most=1), default=0.9, help="of sgd; the others ignore it")
    add("--max_norm", type=cli.positive_float, default=10.0, help="clip the norm of the gradient to this")
    add("--eval_every", type=cli.positive_int, default=250, help="updates between evaluations, which also save")
    add("--eval_size", type=cli.positive_int, default=10_000, help="palindromes in the separate evaluation set")
    add("--backward", choices=["bptt", "autograd"], default="bptt",
        help="bptt: the hand-written derivatives of part1/bptt.py; autograd: the plain loop, same results, slower")
    add("--target_accuracy", type=cli.number(float, above=0, at_most=1),
        help="stop when two evaluations in a row reach this (default: train to the end)")
    run.add_flags(parser, train_steps=10_000)
    config = parser.parse(argv)
    try:
        dataset = make_dataset(config.dataset, config.input_length)
    except ValueError as error:
        parser.error(f"--input_length: {error}")
    if config.num_classes is None:
        config.num_classes = dataset.num_classes
    if config.num_classes < dataset.num_classes:
        parser.error(f"--num_classes must be at least the dataset's {dataset.num_classes}, not {config.num_classes}")
    if config.input_dim not in (1, dataset.alphabet):
        parser.error(f"--input_dim is 1 or {dataset.alphabet} for this dataset, not {config.input_dim}")
    if config.forget_bias is not None and config.model_type == "RNN":
        parser.error("--forget_bias: a vanilla RNN has no forget gate")
    return config


def make_model(config, device):
    """The network that `config` describes, its weights drawn from torch's global generator on the CPU."""
    network = MODELS[config.model_type](make_dataset(config.dataset, config.input_length).num_inputs, config.input_dim,
                                        config.num_hidden, config.num_classes)
    initialize(network, config.init, config.forget_bias)
    return network.to(device)


def load(path):
    """The flags and the trained network of a checkpoint of this script; `ValueError` when it is none."""
    checkpoint = run.load_checkpoint(path, SCRIPT)
    try:
        config = run.settings_of(checkpoint)
        model = make_model(config, "cpu")
        model.load_state_dict(checkpoint["parts"]["model"])
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} does not hold a network: {cli.one_line(error)[:120]}") from None
    return config, model


def make_optimizer(config, parameters):
    """The `torch.optim` optimizer that `config` names; foreach: one call for all parameters, to the same bits."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.learning_rate, momentum=config.momentum, foreach=True)
    return {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}[config.optimizer](
        parameters, lr=config.learning_rate, foreach=True)


@torch.no_grad()
def evaluate(model, digits, labels):
    """Mean cross-entropy (nats) and accuracy on a set of palindromes, in chunks that fit a processor's cache."""
    loss = correct = 0.0
    for some_digits, some_labels in zip(digits.split(1000), labels.split(1000)):
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


def train(config, quiet=False):
    """Train as `config` (from `parse_args`) says.

    Returns a dict: `steps`, `loss` (of the last batch, nats), `eval_loss`, `accuracy` (last evaluation),
    `best_accuracy`, `steps_to_target` (None if not reached), `seconds` and `folder`.
    Raises `ValueError` or `OSError` before anything is written, `cli.RunFailed` or `cli.Interrupted` afterwards.
    """
    current = run.Run(SCRIPT, config, quiet)
    config, device = current.config, current.device
    dataset = make_dataset(config.dataset, config.input_length)
    model = make_model(config, device)
    model.backward_pass = config.backward
    optimizer = make_optimizer(config, model.parameters())
    training_data = run.generator(config.seed, "training data")
    eval_digits, eval_labels = (tensor.to(device) for tensor in dataset.batch(
        config.eval_size, run.generator(config.seed, "evaluation data")))

    with current.keep(rows_every=[config.eval_every], model=model, optimizer=optimizer, training_data=training_data):
        for step in current.steps():
            if steps_to_target(current.rows, config.target_accuracy):
                break
            digits, labels = dataset.batch(config.batch_size, training_data)
            loss = cross_entropy(model(digits.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_norm)
            current.check_finite(loss=loss.item(), gradient=norm.item())
            optimizer.step()

            if current.due(config.eval_every):
                eval_loss, accuracy = evaluate(model, eval_digits, eval_labels)
                current.check_finite(evaluation_loss=eval_loss)
                current.log(loss=loss.item(), eval_loss=eval_loss, accuracy=accuracy)
                current.save()

    last = current.rows[-1]
    return {"steps": last["step"], "loss": last["loss"], "eval_loss": last["eval_loss"], "accuracy": last["accuracy"],
            "best_accuracy": max(row["accuracy"] for row in current.rows),
            "steps_to_target": steps_to_target(current.rows, config.target_accuracy),
            "seconds": last["seconds"], "folder": str(current.folder)}


def main(config):
    result = train(config)
    print(f"accuracy {result['accuracy']:.4f} (best {result['best_accuracy']:.4f}) after {result['steps']} updates; "
          f"run in {run.shorter(result['folder'])}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
