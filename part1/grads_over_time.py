"""The gradient that reaches each time step: Question 1.7 of 2019.

    python -m part1.grads_over_time                              # untrained networks, raw and one-hot digits, T = 100
    python -m part1.grads_over_time --checkpoint runs/mine/checkpoint.pt        # a trained one

The loss of the last step is sent back through time, and the norm of dL/dh(t), the message between time steps, is
recorded for each t. The peephole LSTM passes on only c(t), so dL/dc(t) is drawn for it and, beside it, for the LSTM.
Writes `gradients.csv` (a row for each network, input, state and t: means over seeds) and a figure into `--output`.
"""
import sys
from argparse import Namespace
from itertools import product
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from part1 import cli, drawing, files, run, style, train
from part1.cli import InputError
from part1.dataset import make_dataset

SEEDS = (0, 1, 2, 3, 4)
MODELS = ("RNN", "LSTM", "PeepLSTM")  # more in one figure are hard to tell apart


def gradients_through_time(model, x, labels):
    """What reaches each state of a `RecurrentNetwork` when the cross-entropy of the last step is sent back.

    Takes the network, a batch as its `forward` takes it, and labels, int64 (batch,). Returns a dict from the names of
    the states to tensors (seq_length, batch, num_hidden): entry t - 1 of "h" is dL/dh(t), of "c" dL/dc(t), L being each
    example's own loss. They are total derivatives: dL/dc(t) counts what c(t) does through h(t).
    """
    states = list(model.states(x))
    loss = cross_entropy(model.output(states[-1][0]), labels, reduction="sum")
    return {name: torch.stack(torch.autograd.grad(loss, tensors, retain_graph=True, materialize_grads=True))
            for name, tensors in zip(model.state_names, zip(*states))}


def untrained(palindrome_length=100, num_hidden=128, seeds=SEEDS, init="xavier", forget_bias=None,
              models=MODELS):
    """Yield (flags of `part1.train`, network) for each network, raw and one-hot digits, and seed."""
    for model_type, input_dim, seed in product(models, (1, 10), seeds):
        flags = train.parse_args([])
        flags.model_type, flags.input_dim, flags.init, flags.seed = model_type, input_dim, init, seed
        flags.input_length, flags.num_hidden = palindrome_length - 1, num_hidden
        flags.forget_bias = forget_bias if "f" in train.MODELS[model_type].gates else None
        torch.manual_seed(seed)
        yield flags, train.make_model(flags)


def curve(flags):
    """A network's type and digits: those that agree in both are averaged into one curve."""
    return flags.model_type, "raw" if flags.input_dim == 1 else "one-hot"


def trained(checkpoints, curve=None):
    """A pair (flags of `part1.train`, network) for each checkpoint of `part1.train`, a list.

    `InputError` when two for which `curve(flags)` is the same differ in more than their seed: means are over seeds.
    """
    networks, curves = [], {}
    for path in checkpoints:
        checkpoint = run.load_checkpoint(path, train.SCRIPT)
        run.check_flags(path, train.SCRIPT, checkpoint["config"])
        flags = Namespace(**checkpoint["config"])
        try:
            model = train.make_model(flags)
            model.load_state_dict(checkpoint["parts"]["model"])
            model.requires_grad_(True)  # of a run with --freeze_recurrent too
        except (AttributeError, KeyError, RuntimeError, TypeError) as error:
            raise InputError(f"{path} does not hold a network: {cli.one_line(error)[:120]}") from None
        settings = {name: value for name, value in vars(flags).items() if name not in ("seed", "device")}
        others = curves.setdefault(curve(flags), settings) if curve else settings
        if differ := [name for name in settings if settings[name] != others[name]]:
            raise InputError(f"{path} would be averaged with networks of another --{differ[0]}: only seeds may differ")
        networks.append((flags, model))
    return networks


def measure(networks, batch_size=128, device="cpu"):
    """Rows of `gradients.csv`: for each network, input, state and t the mean over seeds and its spread.

    `networks` are pairs (flags of `part1.train`, network), as from `untrained` and `trained`; `batch_size`
    palindromes for each, over which the norms are averaged; `device` must have float64. `norm` is the geometric mean,
    as norms span orders of magnitude, `factor` the geometric standard deviation. Norms below 1e-300 count as that.
    """
    logs = {}
    for flags, model in networks:
        dataset = make_dataset(flags.dataset, flags.input_length)
        x, labels = dataset.batch(batch_size, run.generator(flags.seed, "gradient data"))
        gradients = gradients_through_time(model.double().to(device), x.to(device), labels.to(device))
        for state in model.carried:
            norms = gradients[state].norm(dim=2).mean(dim=1).cpu().numpy()
            logs.setdefault((*curve(flags), state), []).append(np.log(np.maximum(norms, 1e-300)))
    rows = []
    for (model_type, digits, state), curves in logs.items():
        mean = np.mean(curves, axis=0)
        spread = np.std(curves, axis=0, ddof=1) if len(curves) > 1 else np.zeros_like(mean)
        rows += [{"model_type": model_type, "input": digits, "state": state, "t": t + 1, "seeds": len(curves),
                  "norm": f"{np.exp(mean[t]):.6g}", "factor": f"{np.exp(spread[t]):.6g}"} for t in range(len(mean))]
    return rows


def parse_args(argv=None):
    """Parse the flags of `python -m part1.grads_over_time`."""
    parser = cli.Parser("part1.grads_over_time", "Plot the norm of dL/dh(t) and dL/dc(t) against the time step t.")
    add = parser.add_argument
    add("--model_type", nargs="+", choices=train.MODELS, default=list(MODELS), help="untrained networks")
    add("--palindrome_length", type=cli.number(int, at_least=2), default=100, metavar="T", help="length T")
    add("--num_hidden", type=cli.positive_int, default=128, help="hidden units")
    add("--init", choices=train.INITS, default="xavier", help="initial weights of the untrained networks")
    add("--forget_bias", type=train.forget_bias, metavar="VALUE|chrono", help="of the untrained LSTMs (default: 0)")
    add("--seeds", nargs="+", type=cli.seed, default=list(SEEDS), metavar="SEED",
        help="networks and palindromes to average over")
    add("--batch_size", type=cli.positive_int, default=128, help="palindromes for each seed")
    add("--checkpoint", type=cli.path, nargs="+", help="trained networks (of part1.train), instead of untrained ones")
    add("--device", default="cpu", help="cpu, cuda or cuda:N (it computes in float64, which mps does not have)")
    add("--output", type=cli.path, default=files.ROOT / "runs" / "gradients", help="folder for table and figure")
    return parser.parse_args(argv)


def main(config):
    device = run.choose_device(config.device)
    if device.type == "mps":
        raise InputError("mps has no float64, which these gradients need: choose another --device")
    table = config.output / "gradients.csv"
    files.refuse_foreign(table, ["model_type", "input", "state"])
    style.targets(config.output / "gradients")
    networks = trained(config.checkpoint, curve) if config.checkpoint else untrained(
        config.palindrome_length, config.num_hidden, config.seeds, config.init, config.forget_bias,
        config.model_type)
    config.output.mkdir(parents=True, exist_ok=True)
    rows = measure(networks, config.batch_size, device)
    files.write_csv(table, rows)
    print(f"{'network':10}{'digits':9}{'state':7}{'first step':>12}{'last step':>12}")
    for (model_type, digits, state), own in files.grouped(rows, "model_type", "input", "state").items():
        print(f"{model_type:10}{digits:9}{state:7}{float(own[0]['norm']):12.1e}{float(own[-1]['norm']):12.1e}")
    title = "trained" if config.checkpoint else "untrained"
    print(f"figure: {files.display(drawing.gradients({title: rows}, config.output / 'gradients', [table]))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
