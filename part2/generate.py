"""Let a trained network write: greedily, at a temperature, from a prompt, by beam search (Questions 2.1 to 2.3).

    python -m part2.generate --checkpoint runs/grimm/checkpoint.pt --gen_input "Sleeping beauty is" --length 200
    python -m part2.generate --checkpoint runs/grimm/checkpoint.pt --temperature 0.5 1 2 --num_samples 5 --seed 1
    python -m part2.generate --checkpoint runs/grimm/checkpoint.pt --gen_input "The king" --beam_size 5

The temperature tau multiplies the logits: 0 is uniform, 1 the model, infinity greedy. The checkpoint is all it needs.
"""
import math
import sys
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from part1 import cli, run
from part1.checkpoint import finite, fits
from part1.cli import InputError
from part2.dataset import Vocabulary
from part2.model import TextGenerationModel, evaluating

# Rows of every forward pass, needed or not: another number would round the logits differently, and a sample would
# depend on how many others are drawn beside it.
ROWS = 64


def load(path, device="cpu"):
    """Network (in evaluation mode) and `Vocabulary` of a checkpoint of `part2.train_text`; `InputError` for others."""
    checkpoint = run.load_checkpoint(path, "part2.train_text")
    try:
        vocabulary, weights = Vocabulary(checkpoint["extra"]["vocabulary"]), checkpoint["parts"]["model"]
        layers = sum(name.startswith("lstm.weight_hh") for name in weights)
        hidden = weights["lstm.weight_hh_l0"].shape[1]
        model = TextGenerationModel(1, 1, vocabulary.vocab_size, hidden, layers, device)
        if not (fits(weights, model.state_dict()) and finite(weights)):
            raise ValueError
        model.load_state_dict(weights)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        raise InputError(f"{path} does not hold a text model") from None
    return model.eval(), vocabulary


def encode_prompt(vocabulary, prompt, length):
    """The prompt as int64 (characters,); `InputError` when it does not fit into `length`."""
    if len(prompt) > length:
        raise InputError(f"the prompt has {len(prompt)} characters, more than the length {length}")
    return vocabulary.encode(prompt)


def sample(logits, temperature, uniform):
    """Draw a class per row from softmax(tau x), the assignment's tempered softmax (Goodfellow et al., section 17.5.1).

    Args:
        logits: x, (batch, classes).
        temperature: tau, 0 or more (else `InputError`); None or infinity takes the largest logit.
        uniform: random numbers in [0, 1), float64 (batch,); each is looked up in its row's cumulative distribution.

    Returns int64 (batch,).
    """
    if temperature in (None, math.inf):
        return logits.argmax(dim=1)
    if not temperature >= 0:
        raise InputError(f"the temperature is 0 (uniform) or more, up to inf (greedy), not {temperature}")
    x = logits.double()
    x = temperature * (x - x.amax(dim=1, keepdim=True))  # the largest becomes 0: no overflow, however large tau is
    cumulative = x.exp().cumsum(dim=1)  # its last entry is the softmax's denominator
    # right: the first entry above u times the sum, not at it, which for u = 0 may be a class of probability zero.
    return torch.searchsorted(cumulative, uniform.unsqueeze(1) * cumulative[:, -1:], right=True).squeeze(1)


def random_numbers(seed, first, length):
    """Uniform numbers for the samples `first`, `first` + 1, …: float64 (ROWS, length), one per character."""
    uniform = torch.empty(ROWS, length, dtype=torch.float64)
    for k, row in enumerate(uniform, first):
        row.uniform_(generator=run.generator(seed, f"sample {k}"))
    return uniform


def read(model, prompt):
    """Read a prompt, int64 (characters,), once, piece by piece, as the one-hot characters of a long one fill gigabytes.

    Returns the logits of the character after it, (1, vocabulary), and the state, a pair of (layers, 1, hidden).
    """
    state = None
    for piece in prompt.to(next(model.parameters()).device).unsqueeze(0).split(500, dim=1):
        logits, state = model(piece, state)
    return logits[:, -1], state


@torch.inference_mode()
def generate(model, vocabulary, length, prompt="", temperature=None, num_samples=1, generator=None):
    """Write `num_samples` texts of `length` characters, the prompt included.

    Args:
        model: a `TextGenerationModel`; its state is carried, so that each character costs one step.
        vocabulary: a `TextDataset`, or anything with `vocab_size`, `encode` and `convert_to_string`.
        prompt: how each text begins, read once; an empty one lets each begin with a character drawn uniformly.
        temperature: tau, see `sample`; None is greedy.
        generator: a `torch.Generator`; sample k depends on its seed and on k alone. None: torch's own randomness.

    Returns a list of `str`. Raises `InputError` for a prompt that is longer than `length` or has unknown characters,
    and for a length, number or temperature out of range.
    """
    if length < 1 or num_samples < 1:
        raise InputError(f"length and number of samples must be at least 1, not {length} and {num_samples}")
    known = encode_prompt(vocabulary, prompt, length)
    seed = generator.initial_seed() if generator else int(torch.randint(2**62, ()))
    device, rows = next(model.parameters()).device, []
    with evaluating(model):
        if prompt:  # read once: all samples begin in the same state
            logits, state = read(model, known)
            begun = logits.expand(ROWS, -1), tuple(part.repeat(1, ROWS, 1) for part in state)
        for first in range(0, num_samples, ROWS):
            uniform = random_numbers(seed, first, length)
            if prompt:
                written, (logits, state) = list(known.unsqueeze(1).expand(-1, ROWS)), begun
            else:
                written, state = [(uniform[:, 0] * vocabulary.vocab_size).long()], None
            for position in range(len(written), length):
                if position != len(prompt):  # else the prompt's logits are here
                    logits, state = model(written[-1].unsqueeze(1).to(device), state)
                    logits = logits[:, -1]
                # Drawn on the CPU: other devices may lack float64, or sum in an order that changes.
                written.append(sample(logits.cpu(), temperature, uniform[:, position]))
            rows += torch.stack(written, dim=1)
    return [vocabulary.convert_to_string(row) for row in rows[:num_samples]]


@torch.inference_mode()
def beam_search(model, vocabulary, length, prompt, beam_size):
    """The most probable continuations of `prompt` that a search keeping `beam_size` of them at each character finds.

    Args as for `generate`; all beams are one batch. Returns a list of (text of `length` characters, log-probability of
    the characters after the prompt, in nats), best first: `beam_size` of them, or all there are if those are fewer.
    Raises `InputError` for an empty, too long or unknown prompt and a beam size below 1.
    """
    if not prompt or beam_size < 1:
        raise InputError("beam search needs a prompt to continue (--gen_input) and at least one beam")
    known = encode_prompt(vocabulary, prompt, length)
    device = next(model.parameters()).device
    written = torch.empty(1, 0, dtype=torch.int64)  # (beams, characters)
    scores = torch.zeros(1, dtype=torch.float64)  # log-probability of each beam
    with evaluating(model):
        logits, state = read(model, known)
        for k in range(length - len(prompt)):
            if k:
                logits, state = model(written[:, -1:].to(device), state)
                logits = logits[:, -1]
            candidates = scores.unsqueeze(1) + logits.cpu().double().log_softmax(dim=1)  # (beams, vocabulary)
            scores, best = candidates.flatten().topk(min(beam_size, candidates.numel()))
            parents, last = best // vocabulary.vocab_size, (best % vocabulary.vocab_size).unsqueeze(1)
            written = torch.cat([written[parents], last], dim=1)
            state = tuple(part[:, parents.to(device)] for part in state)
    return [(prompt + vocabulary.convert_to_string(row), score) for row, score in zip(written, scores.tolist())]


def parse_args(argv=None):
    """Parse the flags of `python -m part2.generate`."""
    parser = cli.Parser("part2.generate", "Write text with a network that part2.train_text has trained.")
    add = parser.add_argument
    add("--checkpoint", type=cli.path, required=True, help="checkpoint.pt of the training run")
    add("--gen_input", default="", metavar="TEXT", help="how the text begins (default: a random character)")
    add("--length", type=cli.positive_int, default=200, help="characters of a text, the beginning included")
    add("--temperature", type=cli.number(float, at_least=0, infinite=True), nargs="+", metavar="TAU",
        help="multiplies the logits: 0 uniform, 1 the model, inf greedy (default: greedy)")
    add("--beam_size", type=cli.positive_int, metavar="K", help="search with K beams instead of sampling")
    add("--num_samples", type=cli.positive_int, default=1, help="texts for each temperature")
    add("--seed", type=cli.seed, default=0, help="of first characters and draws")
    add("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps")
    config = parser.parse_args(argv)
    if config.beam_size and (config.temperature or config.num_samples > 1):
        parser.error("--beam_size goes with neither --temperature nor --num_samples: the search is not random")
    return config


def main(config):
    cli.refuse_oversize(max(max(config.num_samples, 2 * ROWS) * config.length, 100 * (config.beam_size or 0)))
    model, vocabulary = load(config.checkpoint, run.choose_device(config.device))
    if config.beam_size:
        for text, score in beam_search(model, vocabulary, config.length, config.gen_input, config.beam_size):
            print(f"--- log-probability {score:.3f}\n{text}")
        return
    for temperature in config.temperature or [None]:
        texts = generate(model, vocabulary, config.length, config.gen_input, temperature, config.num_samples,
                         torch.Generator().manual_seed(config.seed))
        for k, text in enumerate(texts):
            if config.num_samples > 1 or config.temperature:
                print(f"--- {'greedy' if temperature is None else f'temperature {temperature:g}'}, sample {k}")
            print(text)


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
