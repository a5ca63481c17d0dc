"""Fixtures of Part 2's tests: scripts called in this process, a tiny book, and a finished tiny run on it."""
import pytest
import torch

from part1 import run
from part1.tests.conftest import call, refused  # noqa: F401 (fixtures; it also sets up hypothesis and torch)
from part2 import train_text
from part2.model import TextGenerationModel

BOOK = "The fox ran. The dog sat.\n\"Why?\" said the fox; and the dog did not know.\n" * 8
TINY = ["--seq_length", 5, "--lstm_num_hidden", 6, "--batch_size", 4, "--train_steps", 12, "--print_every", 2,
        "--sample_every", 5, "--eval_fraction", 0.2, "--dropout_keep_prob", 0.8, "--learning_rate_step", 3]


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """A text file of a few hundred characters."""
    path = tmp_path_factory.mktemp("books") / "book.txt"
    path.write_text(BOOK)
    return path


@pytest.fixture(scope="session")
def finished(book, tmp_path_factory):
    """The folder of a finished run with the flags `TINY`; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    flags = [str(flag) for flag in ("--txt_file", book, *TINY, "--output", folder)]
    train_text.train(train_text.parse_args(flags), quiet=True)
    return folder


@pytest.fixture
def make():
    """`make(K, hidden, layers, dtype, scale)`: a network with weights that differ enough to have opinions."""
    def make(K=7, hidden=9, layers=2, dtype=torch.float64, scale=1.5, keep=1.0, seed=1):
        torch.manual_seed(seed)
        model = TextGenerationModel(4, 5, K, hidden, layers, dropout_keep_prob=keep).to(dtype)
        for parameter in model.parameters():
            parameter.data.normal_(0, scale / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 else 0.5)
        return model.eval()
    return make


def checkpoint_of(folder):
    return run.load_checkpoint(folder / "checkpoint.pt", train_text.SCRIPT)


def weights_of(folder):
    return checkpoint_of(folder)["parts"]["model"]


def rows_of(folder):
    """The lines of the metrics as they stand in the file, without the seconds, which come last."""
    return [line.rpartition(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()]


def same(one, other):
    """Whether two contents of checkpoints are bit-identical."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one.dtype == other.dtype and one.equal(other) if isinstance(one, torch.Tensor) else one == other


def identical(one, other):
    """Whether two runs are bit-identical: metrics but for the seconds, samples, weights and all other states."""
    contents, others = checkpoint_of(one), checkpoint_of(other)
    return (rows_of(one) == rows_of(other)
            and (one / "samples.txt").read_bytes() == (other / "samples.txt").read_bytes()
            and all(same(contents[key], others[key]) for key in ("parts", "random", "step", "extra")))
