"""How sure a trained network is of each character of a text: a heat strip that shows where it hesitates.

    python -m part2.inspect_text --checkpoint runs/grimm/checkpoint.pt --text "Once upon a time there was a king."

Each cell is a character, coloured by the probability that the network gave it after reading everything before it; in
grey below it stands the character that the network would have preferred, where that is another one.
"""
import sys
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch

from part1 import cli, files, run, style
from part1.cli import InputError
from part2 import drawing
from part2.dataset import read_text
from part2.generate import load


def parse_args(argv=None):
    """Parse the flags of `python -m part2.inspect_text`."""
    parser = cli.Parser("part2.inspect_text", "Draw how sure a trained text model is of each character of a text.")
    add = parser.add_argument
    add("--checkpoint", type=cli.path, required=True, help="checkpoint.pt of a run of part2.train_text")
    add("--text", help="the text to look at")
    add("--text_file", type=cli.path, help="a UTF-8 file with the text to look at")
    add("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps")
    add("--output", type=cli.path, default=files.ROOT / "runs" / "inspect_text", help="the figure, as .pdf and .png")
    config = parser.parse_args(argv)
    if (config.text is None) == (config.text_file is None):
        parser.error("give either --text or --text_file")
    return config


@torch.inference_mode()
def probabilities(model, vocabulary, text):
    """The probability of each character of `text` given those before it, and the most probable characters.

    Returns float64 (len(text),) and a str of that length; the first character has none before it: NaN, and itself.
    Raises `InputError` for unknown characters and a text of fewer than two characters.
    """
    if len(text) < 2:
        raise InputError(f"a text of at least 2 characters is needed, not {len(text)}")
    characters = vocabulary.encode(text).to(next(model.parameters()).device)
    logits, _ = model(characters[:-1].unsqueeze(0))
    p = logits[0].cpu().double().softmax(dim=1)
    chosen = p.gather(1, characters[1:].cpu().unsqueeze(1)).squeeze(1)
    return np.append(np.nan, chosen.numpy()), text[0] + vocabulary.convert_to_string(p.argmax(dim=1))


def main(config):
    style.targets(config.output)
    text = config.text if config.text is not None else read_text(config.text_file)
    if len(text) > 2000:
        raise InputError(f"a text of {len(text)} characters is too long to draw; at most 2000")
    model, vocabulary = load(config.checkpoint, run.choose_device(config.device))
    p, favourites = probabilities(model, vocabulary, text)
    bits = -np.log2(p[1:])
    hits = np.mean([favourite == character for favourite, character in zip(favourites[1:], text[1:])])
    print(f"{bits.mean():.3f} bits per character, {hits:.1%} of them the network's favourite; it hesitates most at")
    for k in np.argsort(-bits)[:5] + 1:
        print(f"  {drawing.visible(text[k])} after {text[max(0, k - 20):k]!r}: p = {p[k]:.1e}, it expected "
              f"{drawing.visible(favourites[k])}")
    print(f"figure: {files.display(drawing.heat_strip(text, p, favourites, config.output))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
