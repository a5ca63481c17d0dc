"""The one style of all figures, and the one place that saves them.

A figure is saved twice, as a vector PDF for the report and as a PNG for eyes. Both carry in their metadata the SHA-256
of the result files they were drawn from, and nothing that changes from day to day: the same results, the same bytes.
"""
import hashlib
import io
import itertools
import logging
import os
import warnings
from pathlib import Path

# No script here needs a display, or a notebook's backend; and what the user's settings say must not change a figure.
os.environ |= {"MPLBACKEND": "Agg", "MATPLOTLIBRC": os.devnull}
import matplotlib
from matplotlib import pyplot as plt

from part1 import files
from part1.cli import InputError

matplotlib.use("Agg")
matplotlib.rcdefaults()  # a file matplotlibrc in the current folder comes before MATPLOTLIBRC

logging.getLogger("fontTools").setLevel(logging.ERROR)  # which embeds some fonts in a PDF, and warns of their dates

WIDTH = 5.5  # inches: the text width of the report's page
# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F")
MODEL_COLORS = {"RNN": ORANGE, "LSTM": BLUE, "PeepLSTM": GREEN}  # in every figure; see `model_colors`
MODEL_NAMES = {  # of the networks that people call otherwise than the flags do
    "PeepLSTM": "peephole LSTM", "BiLSTM": "bidirectional LSTM", "TanhPeepLSTM": "with a tanh candidate",
    "RecurrentPeepLSTM": "with h in the candidate", "OutputPeepLSTM": "with h in the gates"}

plt.rcParams.update({
    "figure.figsize": (WIDTH, 2.8), "figure.constrained_layout.use": True, "savefig.dpi": 160,
    "font.size": 9, "axes.titlesize": 9, "legend.fontsize": 8, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "grid.linewidth": 0.6,
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY]), "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
})


def fingerprint(sources):
    """SHA-256 (hex) over the contents of the files `sources`, in the given order; each file's length is hashed too."""
    digest = hashlib.sha256()
    for source in sources:
        content = Path(source).read_bytes()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def check_replaceable(path):
    """Raise `InputError` where `path` is a folder, or a file that was not made here: it lacks the mark of `save`."""
    if path.is_dir() or path.exists() and b"sha256:" not in path.read_bytes():
        raise InputError(f"{files.display(path)} exists but was not made here; remove it or choose another name")


def targets(path):
    """The PDF and the PNG that a figure called `path` becomes: `path` may end in `.pdf`, `.png` or neither.

    Raises `InputError` where one of the two cannot be a file or is one that was not made here.
    """
    base = Path(path)
    base = base.with_suffix("") if base.suffix in (".pdf", ".png") else base
    if base.name in ("", ".pdf", ".png") or base.name.endswith("."):
        raise InputError(f"a figure cannot be written as {path}, a PDF and a PNG")
    both = base.parent / f"{base.name}.pdf", base.parent / f"{base.name}.png"
    for target in both:
        check_replaceable(target)
    return both


def save(figure, path, sources=()):
    """Write `figure` as the `targets` of `path`, marked with the fingerprint of `sources`, and close it.

    Their folder is made when missing. Returns the PNG's path. Raises as `targets` does, and then writes neither.
    """
    both = targets(path)
    mark = f"sha256:{fingerprint(sources)}"
    content = {}
    for target, metadata in zip(both, ({"CreationDate": None, "Keywords": mark}, {"Keywords": mark})):
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a box is drawn in the place of the character
            figure.savefig(buffer, format=target.suffix[1:], metadata=metadata)
        content[target] = buffer.getvalue()
    plt.close(figure)
    both[0].parent.mkdir(parents=True, exist_ok=True)
    for target, data in content.items():
        files.write_atomically(target, data)
    return both[1]


def model_name(model):
    """What people call the network of the flag `model`."""
    return MODEL_NAMES.get(model, model)


def model_colors(models):
    """A colour for each network: its own from `MODEL_COLORS`, or one that is left, in the order of `models`."""
    left = itertools.cycle((VERMILION, PURPLE, SKY))
    return {model: MODEL_COLORS.get(model) or next(left) for model in dict.fromkeys(models)}
