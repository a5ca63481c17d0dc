"""A look inside the networks: why some learn to remember and others do not (Questions 1.3, 1.4 and 1.7 of 2019).

    python -m part1.look_inside                                            # half an hour
    python -m part1.look_inside --checkpoint runs/a/checkpoint.pt runs/b/checkpoint.pt

Writes into `--output`:
* `traces.csv`: what each optimizer does to a network in its first updates: how far the recurrent weights have moved,
  ||W - W_0||_2, their largest singular value sigma_1, the mean slope 1 - y^2 of the tanh units y, the share of units
  that keep their sign from the first input to the last, and whether the first digit is `readable` from h(T): the
  accuracy of a linear output fitted to the standardized states. Of the naive networks, and of LSTMs at a high rate;
* `directions.csv`: the singular values of the Jacobians dh(T)/dh(t) and dh(T)/dc(t): how many directions in which the
  state at t could differ still make a difference at T;
* `states.csv`: sigma_1 and the mean slope as above; the factor by which mean-field theory expects a step back to scale
  a gradient's norm, sqrt(E[(1 - h^2)^2]) for an RNN with weights of variance 1/n (Chen, Pennington & Schoenholz, ICML
  2018); units that keep their sign and `readable`, as above; and the LSTM's mean gates at the first digit and after it.
The last two are of untrained networks, or of the trained ones given with `--checkpoint`.
"""
import sys
from itertools import product
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torch.nn.functional import cross_entropy, one_hot

from part1 import cli, files, grads_over_time, run, train
from part1.dataset import make_dataset

METHODS = {"RMSProp": {"optimizer": "rmsprop"}, "Adam": {"optimizer": "adam"},
              "corrected RMSProp": {"optimizer": "adam", "beta1": 0.0, "beta2": 0.99}}
STARTS = {"naive": {}, "orthogonal": {"init": "orthogonal"}, "chrono": {"forget_bias": "chrono"},
          "latch": {"init": "latch"}}
HIGH_RATE = 0.05  # at which LSTMs learn T = 100 in a few hundred updates of RMSProp


def flags_of(model_type, length, seed, **settings):
    """Flags of `part1.train` for one-hot palindromes of `length` digits."""
    flags = train.parse_args(["--model_type", model_type, "--input_dim", "10", "--seed", str(seed),
                              "--input_length", str(length - 1)])
    vars(flags).update(settings)
    return flags


def recurrent_weights(model):
    """The matrices W_*h, one below the other."""
    return torch.cat([model.get_parameter(name) for name in model.recurrent_matrices()])


def spectral_norm(matrix):
    return torch.linalg.matrix_norm(matrix.detach(), 2).item()


def slopes(model, units):
    """Slope 1 - y^2 of the tanh units: of an RNN's h, or of the tanh(c) of an LSTM."""
    return 1 - (units if len(model.state_names) == 1 else units.tanh())**2


def keep_sign(units):
    """Share of the units, (T, batch, n), whose sign is the same at all steps."""
    return (units.sign() == units[0].sign()).all(dim=0).double().mean().item()


@torch.no_grad()
def readable(model, data, seed):
    """Share of 500 palindromes whose label a linear output finds in h(T) when fitted to 1000 others.

    It tells whether a memory is there, even where the network's own output has not learned to read it. The fit is ridge
    regression on standardized units, so that the scale of h does not count: an untrained LSTM's is a hundredth of an
    RNN's.
    """
    digits, labels = data.batch(1500, run.generator(seed, "readout data"))
    for h, *_ in model.states(digits):
        pass
    h, targets = h.double(), one_hot(labels, data.num_classes).double()
    h = (h - h[:1000].mean(dim=0)) / h[:1000].std(dim=0).clamp(min=1e-12)
    fit, shares = h[:1000], targets[:1000].mean(dim=0)
    W = torch.linalg.solve(fit.T @ fit + torch.eye(h.shape[1]), fit.T @ (targets[:1000] - shares))
    return ((h[1000:] @ W + shares).argmax(dim=1) == labels[1000:]).double().mean().item()


def trace(flags, updates):
    """Yield rows of `traces.csv`: the network of `flags` before its training, and after updates 1 to 10, 20, 30 …

    Ends where the training diverges, as `part1.train` does.
    """
    torch.manual_seed(flags.seed)
    model = train.make_model(flags)
    optimizer = train.make_optimizer(flags, model.parameters())
    data, generator = make_dataset(flags.dataset, flags.input_length), run.generator(flags.seed, "training data")
    start = recurrent_weights(model).detach().clone()
    for step in range(updates + 1):
        digits, labels = data.batch(flags.batch_size, generator)
        if step <= 10 or step % 10 == 0:
            with torch.no_grad():
                units = torch.stack([state[-1] for state in model.states(digits)])
            yield {"step": step, "moved": spectral_norm(recurrent_weights(model) - start),
                   "sigma_1": spectral_norm(recurrent_weights(model)), "slope": slopes(model, units).mean().item(),
                   "keep_sign": keep_sign(units), "readable": readable(model, data, flags.seed)}
        loss = cross_entropy(model(digits), labels)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), flags.max_norm)
        if not (loss.isfinite() and norm.isfinite()):
            return
        optimizer.step()


def jacobians(model, x):
    """dh(T)/dh(t), and for an LSTM dh(T)/dc(t), for one sequence x, (1, seq_length): a dict from the state's name to
    (seq_length, n, n). Copy k of the sequence carries the gradient of h_k(T), so that one backward pass gives all rows.
    """
    states = list(model.states(x.expand(model.W_ph.shape[1], -1)))
    tensors = [tensor for state in states for tensor in state]
    rows = torch.autograd.grad(states[-1][0].diagonal().sum(), tensors, materialize_grads=True)
    return {name: torch.stack(rows[k::len(model.state_names)]) for k, name in enumerate(model.state_names)}


def directions(model, x, every):
    """Yield rows of `directions.csv` for the sequence x, (1, seq_length), at every `every`-th step before the last."""
    for state, matrices in jacobians(model, x).items():
        for t in range(len(matrices) - every, 0, -every):
            sigma = torch.linalg.svdvals(matrices[t - 1])
            yield {"state": state, "t": t, "back": len(matrices) - t, "largest": sigma[0].item(),
                   "median": sigma.median().item(), "above_0.01": int((sigma > 0.01).sum())}


@torch.no_grad()
def state_row(model, x):
    """A row of `states.csv` for sequences x, (batch, seq_length)."""
    inputs, states = model.encode(x).unbind(dim=1), list(model.states(x))
    units = torch.stack([state[-1] for state in states])
    is_RNN, is_LSTM = model.gates == "h", "c" in model.state_names  # a GRU's h is no tanh unit
    slope = slopes(model, units)
    row = {"sigma_1": spectral_norm(recurrent_weights(model)),
           "slope": slope.mean().item() if is_RNN or is_LSTM else None,
           "mean_field": slope.square().mean().sqrt().item() if is_RNN else None, "keep_sign": keep_sign(units)}
    if "f" in model.gates and len(model.directions) == 1:
        reads = model.state_names.index(model.carried[0])  # the gates look at h(t-1) or at c(t-1)
        before = [torch.zeros_like(units[0]), *(state[reads] for state in states[:-1])]
        for gate in "if":
            W_x, W_h, b = (getattr(model, name) for name in (f"W_{gate}x", f"W_{gate}h", f"b_{gate}"))
            means = [torch.sigmoid(x_t @ W_x.T + h @ W_h.T + b).mean().item() for x_t, h in zip(inputs, before)]
            row |= {f"{gate}_first": means[0], f"{gate}_later": np.mean(means[1:]) if means[1:] else None}
    return row


def parse_args(argv=None):
    """Parse the flags of `python -m part1.look_inside`."""
    parser = cli.Parser("part1.look_inside", "Measure what the optimizer, the Jacobians and the gates do.")
    add = parser.add_argument
    add("--palindrome_length", type=cli.number(int, at_least=3), default=100, metavar="T",
        help="palindrome length for the Jacobians, the states and the traces at a high rate")
    add("--trace_length", type=cli.number(int, at_least=2), default=30, metavar="T",
        help="palindrome length for the traces at the usual rate")
    add("--updates", type=cli.number(int, at_least=0), default=300, help="updates of those traces (0: none)")
    add("--high_rate_updates", type=cli.number(int, at_least=0), default=60,
        help="updates of the traces at a high rate (0: none)")
    add("--seeds", nargs="+", type=cli.seed, default=[0, 1, 2, 3, 4], metavar="SEED", help="networks and palindromes")
    add("--checkpoint", type=cli.path, nargs="+", help="look only into these checkpoints of part1.train; no traces")
    add("--output", type=cli.path, default=files.ROOT / "runs" / "look_inside", help="folder of the tables")
    return parser.parse_args(argv)


def untrained(length, seeds):
    """Yield (name of the initial weights, flags, network) of the networks that are looked into before training."""
    for model_type, start, seed in product(grads_over_time.MODELS, STARTS, seeds):
        if model_type == "RNN" and start == "chrono" or model_type == "PeepLSTM" and start == "orthogonal":
            continue
        flags = flags_of(model_type, length, seed, **STARTS[start])
        torch.manual_seed(seed)
        yield start, flags, train.make_model(flags)


def traced(config):
    """Yield (what a trace is of, flags, updates) for each of the traces."""
    for seed, name in product(config.seeds, METHODS):
        for model_type in ("RNN", "LSTM"):
            yield {"model_type": model_type, "start": "naive", "optimizer": name}, flags_of(
                model_type, config.trace_length, seed, **METHODS[name]), config.updates
        for start in ("naive", "chrono"):
            yield {"model_type": "LSTM", "start": start, "optimizer": name}, flags_of(
                "LSTM", config.palindrome_length, seed, learning_rate=HIGH_RATE, **STARTS[start],
                **METHODS[name]), config.high_rate_updates


def main(config):
    tables = {"traces": [], "directions": [], "states": []}
    for name in tables:
        files.refuse_foreign(config.output / f"{name}.csv", ["model_type", "start", "seed"])
    if config.checkpoint:
        networks = [("trained", *pair) for pair in grads_over_time.trained(config.checkpoint)]
    config.output.mkdir(parents=True, exist_ok=True)
    if not config.checkpoint:
        networks = untrained(config.palindrome_length, config.seeds)
        for about, flags, updates in traced(config):
            if updates:
                about |= {"T": flags.input_length + 1, "learning_rate": flags.learning_rate, "seed": flags.seed}
                tables["traces"] += [about | row for row in trace(flags, updates)]
    for start, flags, model in networks:
        data = make_dataset(flags.dataset, flags.input_length)
        x, _ = data.batch(128, run.generator(flags.seed, "gradient data"))
        can_read = readable(model, data, flags.seed)
        model.double()
        about = {"model_type": flags.model_type, "start": start, "init": flags.init, "forget_bias": flags.forget_bias,
                 "T": flags.input_length + data.offset, "seed": flags.seed}
        tables["directions"] += [about | row for row in directions(model, x[:1], max(1, flags.input_length // 10))]
        tables["states"].append({**about, **dict.fromkeys(("i_first", "i_later", "f_first", "f_later")),
                                 **state_row(model, x), "readable": can_read})
    for name, rows in tables.items():
        if rows:
            files.write_csv(config.output / f"{name}.csv", [
                {column: f"{value:.4g}" if isinstance(value, float) else value for column, value in row.items()}
                for row in rows])
            print(files.display(config.output / f"{name}.csv"))


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
