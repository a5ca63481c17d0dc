"""The gradient that reaches each time step: Question 1.7 of 2019.

    python -m part1.grads_over_time                              # untrained networks, raw and one-hot digits, T = 100
    python -m part1.grads_over_time --checkpoint runs/mine/checkpoint.pt        # a trained one

The loss of the last step is sent back through time, and the norm of dL/dh(t), the message between time steps, is
recorded for each t. The peephole LSTM passes on only c(t), so dL/dc(t) is drawn for it and, beside it, for the LSTM.
Writes `gradients.csv` (a row for each network, input, seed and t) and a figure into `--output`.
"""
import sys
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, run, train  # before torch, see part1/run.py
import numpy as np
import torch

from part1 import bptt
from part1.dataset import make_dataset
from report import style

SCRIPT = "part1.grads_over_time"


def parse_args(argv=None):
    """Parse the flags of `python -m part1.grads_over_time`."""
    parser = cli.Parser(SCRIPT, "Plot the norm of dL/dh(t) and dL/dc(t) against the time step t.")
    add = parser.add_argument
    add("--palindrome_length", type=cli.number(int, at_least=2), default=100, metavar="T", help="length T")
    add("--num_hidden", type=cli.positive_int, default=128, help="hidden units")
    add("--init", choices=train.INITS, default="xavier", help="initial weights of the untrained networks")
    add("--forget_bias", type=train.forget_bias, metavar="VALUE|chrono", help="of the untrained LSTMs (default: 0)")
    add("--seeds", nargs="+", type=cli.seed, default=[0, 1, 2, 3, 4], metavar="SEED",
        help="networks and palindromes to average over")
    add("--batch_size", type=cli.positive_int, default=128, help="palindromes for each seed")
    add("--checkpoint", type=Path, nargs="+", help="trained networks (of part1.train), instead of untrained ones")
    add("--device", default="cpu", help="cpu, cuda or cuda:N (it computes in float64, which mps does not have)")
    add("--output", type=cli.path, default=cli.ROOT / "runs" / "gradients", help="folder for the table and the figure")
    return parser.parse(argv)


def gradient_norms(model, digits, labels):
    """Norms of the gradients that reach each state of a `RecurrentNetwork`, averaged over the batch.

    Args:
        model: the network, in the precision to compute in.
        digits, labels: a batch as its dataset draws it.

    Returns a dict from the names of the states ("h", "c") to arrays (seq_length,): entry t - 1 is the mean over the
    examples of the Euclidean norm of dL/dh(t), L being each example's own loss. The gradient is the total one: it
    counts all that a state feeds from t on.
    """
    gradients = bptt.gradients_through_time(model, digits, labels)
    return {name: gradient.norm(dim=2).mean(dim=1).cpu().numpy() for name, gradient in gradients.items()}


def networks(config):
    """Yield (flags of `part1.train`, network) for each network to look at."""
    if config.checkpoint:
        yield from map(train.load, config.checkpoint)
        return
    for model_type in train.MODELS:
        for input_dim in (1, 10):
            for seed in config.seeds:
                argv = ["--model_type", model_type, "--input_dim", str(input_dim), "--init", config.init, "--seed",
                        str(seed), "--input_length", str(config.palindrome_length - 1), "--num_hidden",
                        str(config.num_hidden)]
                if config.forget_bias is not None and model_type != "RNN":
                    argv += ["--forget_bias", str(config.forget_bias)]
                flags = train.parse_args(argv)
                torch.manual_seed(seed)
                yield flags, train.make_model(flags, "cpu")


def measure(config):
    """Rows of `gradients.csv`: for each network, input, state and t the mean over seeds and its spread.

    Both are taken of the logarithm, as the norms span orders of magnitude: `norm` is the geometric mean and `factor`
    the geometric standard deviation (1 for a single seed).
    """
    device = run.choose_device(config.device)
    if device.type == "mps":
        raise ValueError("mps has no float64, which these gradients need: choose another --device")
    found = {}
    for flags, model in networks(config):
        dataset = make_dataset(flags.dataset, flags.input_length)
        batch = dataset.batch(config.batch_size, run.generator(flags.seed, "gradient data"))
        norms = gradient_norms(model.double().to(device), *(tensor.to(device) for tensor in batch))
        for state in {"RNN": "h", "LSTM": "hc", "PeepLSTM": "c"}[flags.model_type]:  # a peephole h feeds nothing
            key = flags.model_type, "raw" if flags.input_dim == 1 else "one-hot", state
            found.setdefault(key, []).append(np.log(np.maximum(norms[state], 1e-300)))
    rows = []
    for (model_type, digits, state), logs in found.items():
        if len({len(log) for log in logs}) > 1:
            raise ValueError("checkpoints of one kind of network must have the same palindrome length")
        spread = np.std(logs, axis=0, ddof=1) if len(logs) > 1 else np.zeros(len(logs[0]))
        rows += [{"model_type": model_type, "input": digits, "state": state, "t": t + 1, "seeds": len(logs),
                  "norm": f"{np.exp(mean):.6g}", "factor": f"{np.exp(sd):.6g}"}
                 for t, (mean, sd) in enumerate(zip(np.mean(logs, axis=0), spread))]
    return rows


def draw(rows, path, sources=()):
    """Draw `rows` of `gradients.csv`: a panel for dL/dh(t) and one for dL/dc(t), where there are any, on a log axis."""
    states = [state for state in "hc" if any(row["state"] == state for row in rows)]
    figure, panels = style.plt.subplots(1, len(states), sharey=True, squeeze=False, figsize=(style.WIDTH, 3))
    for axes, state in zip(panels[0], states):
        for model_type, digits in dict.fromkeys((row["model_type"], row["input"]) for row in rows
                                                if row["state"] == state):
            curve = [row for row in rows if (row["model_type"], row["input"], row["state"])
                     == (model_type, digits, state)]
            t = [int(row["t"]) for row in curve]
            norm, factor = (np.array([float(row[name]) for row in curve]) for name in ("norm", "factor"))
            color = style.MODEL_COLORS[model_type]
            axes.plot(t, norm, color=color, linestyle="-" if digits == "one-hot" else ":",
                      label=f"{model_type}, {digits} digits")
            axes.fill_between(t, norm / factor, norm * factor, color=color, alpha=0.2, linewidth=0)
        axes.set(xlabel="time step $t$", ylabel=rf"$\Vert\partial L / \partial {state}^{{(t)}}\Vert$", yscale="log")
    lines = {line.get_label(): line for axes in panels[0] for line in axes.get_lines()}
    figure.legend(handles=list(lines.values()), loc="outside lower center", ncols=3)
    return style.save(figure, path, sources)


def main(config):
    rows = measure(config)
    config.output.mkdir(parents=True, exist_ok=True)
    table = config.output / "gradients.csv"
    run.write_csv(table, rows)
    print(f"{'network':10}{'digits':9}{'state':7}{'first step':>12}{'last step':>12}")
    for first, last in zip((row for row in rows if row["t"] == 1),
                           (row for row, after in zip(rows, rows[1:] + [{"t": 1}]) if after["t"] == 1)):
        print(f"{first['model_type']:10}{first['input']:9}{first['state']:7}"
              f"{float(first['norm']):12.1e}{float(last['norm']):12.1e}")
    print(f"figure: {run.shorter(draw(rows, config.output / 'gradients', [table]))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
