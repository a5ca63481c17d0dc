"""How sure a trained network is of each character of a text: a heat strip that shows where it hesitates.

    python -m part2.inspect_text --checkpoint runs/grimm/checkpoint.pt --text "Once upon a time there was a king."

Each cell is a character, coloured by the probability that the network gave it after reading everything before it; in
grey below it stands the character that the network would have preferred, where that is another one.
"""
import math
import sys
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, run  # before torch, see part1/run.py
import numpy as np
import torch

from part2.dataset import read_text
from part2.model import load
from report import style

COLUMNS, MOST = 48, 2000  # characters in a row of the figure, and in all


def parse_args(argv=None):
    """Parse the flags of `python -m part2.inspect_text`."""
    parser = cli.Parser("part2.inspect_text", "Draw how sure a trained text model is of each character of a text.")
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="checkpoint.pt of a run of part2.train_text")
    add("--text", help="the text to look at")
    add("--text_file", type=Path, help="a UTF-8 file with the text to look at")
    add("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps")
    add("--output", type=Path, default=cli.ROOT / "runs" / "inspect_text", help="the figure, written as .pdf and .png")
    config = parser.parse(argv)
    if (config.text is None) == (config.text_file is None):
        parser.error("give either --text or --text_file")
    return config


@torch.inference_mode()
def probabilities(model, vocabulary, text):
    """What the network (in evaluation mode) thinks of `text`, read once from its beginning.

    Returns the probability of each character given those before it, float64 (len(text),), and as a str of that length
    the characters it found most probable. The first character has none before it: NaN, and itself.
    Raises `ValueError` for unknown characters and a text of fewer than two characters.
    """
    if len(text) < 2:
        raise ValueError(f"a text of at least 2 characters is needed, not {len(text)}")
    characters = vocabulary.encode(text).to(next(model.parameters()).device)
    logits, _ = model(characters[:-1].unsqueeze(0))
    p = logits[0].double().softmax(dim=1)
    chosen = p.gather(1, characters[1:].unsqueeze(1)).squeeze(1)
    return np.append(np.nan, chosen.cpu().numpy()), text[0] + vocabulary.convert_to_string(p.argmax(dim=1))


def visible(character):
    return {"\n": "↵", " ": "␣", "\t": "⇥"}.get(character, character)


def draw(text, p, favourites, path):
    """Draw the heat strip of `text` with its probabilities `p` and the network's `favourites`."""
    rows = math.ceil(len(text) / COLUMNS)
    cells = np.full(rows * COLUMNS, np.nan)
    cells[:len(text)] = p
    figure, axes = style.plt.subplots(figsize=(style.WIDTH * 1.4, 0.5 + 0.34 * rows))
    image = axes.imshow(cells.reshape(rows, COLUMNS), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.axis("off")
    for k, (character, favourite, sure) in enumerate(zip(text, favourites, p)):
        row, column = divmod(k, COLUMNS)
        dark = sure < 0.55
        color = "black" if math.isnan(sure) else "white" if dark else "black"
        axes.text(column, row - 0.12, visible(character), ha="center", va="center", color=color, fontsize=8)
        if favourite != character:
            axes.text(column, row + 0.3, visible(favourite), ha="center", va="center", fontsize=5,
                      color="#d0d0d0" if dark else "#404040")
    figure.colorbar(image, ax=axes, label="probability", fraction=0.03, pad=0.01)
    return style.save(figure, path)


def main(config):
    text = config.text if config.text is not None else read_text(config.text_file)
    if len(text) > MOST:
        raise ValueError(f"a text of {len(text)} characters is too long to draw; at most {MOST}")
    model, vocabulary = load(config.checkpoint, run.choose_device(config.device))
    p, favourites = probabilities(model, vocabulary, text)
    bits = -np.log2(p[1:])
    hits = np.mean([favourite == character for favourite, character in zip(favourites[1:], text[1:])])
    print(f"{bits.mean():.3f} bits a character, {hits:.1%} of the characters are the network's favourite; it hesitates "
          "most at")
    for k in np.argsort(-bits)[:5] + 1:
        print(f"  {visible(text[k])!s} after {text[max(0, k - 20):k]!r}: p = {p[k]:.1e}, it expected "
              f"{visible(favourites[k])}")
    print(f"figure: {run.shorter(draw(text, p, favourites, config.output))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
