"""Let trained networks read palindromes of other lengths than those they were trained on.

    python -m part1.evaluate --checkpoint runs/mine/checkpoint.pt --palindrome_lengths 100 1000 10000

Writes `beyond.csv` (a row for each network and length) and a figure into `--output`.
"""
import sys
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, drawing, files, grads_over_time, run, style, train
from part1.cli import InputError
from part1.dataset import PalindromeDataset


def curve(flags):
    """Networks that agree in these flags share a curve of the figure, which is their mean."""
    return flags.model_type, flags.forget_bias or flags.init, flags.input_length


def accuracies(flags, model, lengths, size):
    """Yield rows of `beyond.csv`: the accuracy of `model` on `size` fresh palindromes of each of `lengths`."""
    for T in lengths:
        model.seq_length = T - 1
        data = PalindromeDataset(T).batch(size, run.generator(flags.seed, f"beyond {T}"))
        _, accuracy = train.evaluate(model, *data)
        yield {"model_type": flags.model_type, "init": flags.init, "forget_bias": flags.forget_bias,
               "trained_at": flags.input_length + 1, "seed": flags.seed, "T": T, "eval_size": size,
               "accuracy": accuracy}


def parse_args(argv=None):
    """Parse the flags of `python -m part1.evaluate`."""
    parser = cli.Parser("part1.evaluate", "Measure the accuracy of trained networks on other palindrome lengths.")
    add = parser.add_argument
    add("--checkpoint", type=cli.path, nargs="+", required=True, help="trained networks (of part1.train)")
    add("--palindrome_lengths", type=cli.number(int, at_least=2), nargs="+", metavar="T",
        default=[100, 200, 500, 1000, 2000, 5000, 10_000], help="lengths to read")
    add("--eval_size", type=cli.positive_int, default=1000, help="palindromes of each length")
    add("--output", type=cli.path, default=files.ROOT / "runs" / "evaluate", help="folder for table and figure")
    return parser.parse_args(argv)


def main(config):
    table, rows = config.output / "beyond.csv", []
    files.refuse_foreign(table, ["model_type", "trained_at", "T"])
    style.targets(config.output / "beyond")
    networks = grads_over_time.trained(config.checkpoint, curve)
    if any(flags.dataset != "palindrome" for flags, _ in networks):
        raise InputError("only networks trained on decimal palindromes can read other lengths")
    config.output.mkdir(parents=True, exist_ok=True)
    for flags, model in networks:
        for row in accuracies(flags, model, config.palindrome_lengths, config.eval_size):
            print("  ".join(f"{name} {value}" for name, value in row.items() if value is not None), flush=True)
            rows.append(row)
    files.write_csv(table, rows)
    print(f"figure: {files.display(drawing.beyond(files.read_csv(table), config.output / 'beyond', [table]))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
