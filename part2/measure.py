"""How good is the writer? Its samples, its use of context and its beam search, measured against the book it learned.

    python -m part2.measure --checkpoint runs/grimm/best.pt --output runs/grimm/measures

The run must have held out text (--eval_fraction). Results, in `--output`:

* `samples.csv`: the `measures` of texts of 1000 characters at each temperature, and of pieces of the held-out text
  beside them. A mean over the texts, a bootstrap 95 % interval of it, and the largest value.
* `context.csv`: bits per held-out character when the network has read exactly `context` characters before it.
* `beams.csv`: greedy search, beams and samples after twenty prompts of held-out text, beside how that goes on; what
  they write is printed.
* `measures.pdf` / `.png`: the first two drawn.
"""
import sys
from argparse import Namespace
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch

from part1 import cli, files, run, style
from part1.cli import InputError
from part2 import drawing, train_text
from part2.generate import beam_search, generate, load
from part2.texts import distinct, known_words, longest_copies, period, words

TEMPERATURES = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.0, None)  # None: greedy; the first character decides the text
CONTEXTS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500)
BEAM_SIZES = (5, 10)


@torch.inference_mode()
def nll_bits(model, vocabulary, texts, context=1):
    """Bits of each character of `texts` (of one length) after the first `context`: float64 (texts, length - context).

    The network reads each text from a zero state.
    """
    device, bits = next(model.parameters()).device, []
    for some in torch.stack([vocabulary.encode(text) for text in texts]).to(device).split(50):
        logits, _ = model(some[:, :-1])
        p = logits[:, context - 1:].double().log_softmax(dim=2).gather(2, some[:, context:].unsqueeze(2))
        bits.append(-p.squeeze(2).cpu().numpy() / np.log(2))
    return np.concatenate(bits)


def measures(model, vocabulary, texts, book):
    """Measures of each of `texts`: {name: float64 (texts,)}; `book` is the training text, a str."""
    known, periods = set(words(book)), np.array([period(text) for text in texts])
    return {
        "known words": np.array([known_words(text, known) for text in texts]),  # share that occur in the training text
        "distinct 5-grams": np.array([distinct(text) for text in texts]),  # share of different ones
        "loops": np.isfinite(periods).astype(float),  # ends in a loop, of at most a third of its length
        "period": periods,  # characters of that loop
        "longest copy": longest_copies(texts, book).astype(float),  # characters of it that stand in the training text
        "bits": nll_bits(model, vocabulary, texts).mean(axis=1)}  # per character, under the model


def bootstrap(values, seed=0, times=2000):
    """The 95 % interval of the mean of `values` (n,), by resampling them."""
    means = np.random.default_rng(seed).choice(values, (times, len(values))).mean(axis=1)
    return np.quantile(means, [0.025, 0.975])


def sample_rows(model, vocabulary, book, held_out, number, length, seed):
    """Rows of `samples.csv`: each measure of `number` texts at each temperature, and of the held-out text's pieces."""
    pieces = [held_out[k:k + length] for k in range(0, len(held_out) - length + 1, length)]
    texts = {("held-out text", None): pieces} if pieces else {}
    for tau in TEMPERATURES:
        texts["samples", tau] = generate(model, vocabulary, length, "", tau, number, run.generator(seed, "measure"))
    for (source, tau), group in texts.items():
        for measure, values in measures(model, vocabulary, group, book).items():
            values = values[~np.isnan(values)]
            if len(values):
                low, high = bootstrap(values)
                yield {"source": source, "temperature": tau, "measure": measure, "texts": len(values),
                       "mean": values.mean(), "low": low, "high": high, "largest": values.max()}


def context_rows(model, vocabulary, held_out, positions):
    """Rows of `context.csv`: bits of the same evenly spaced characters, each after exactly `context` characters.

    `gain` is how many bits fewer these are than after the shorter context in the row before. Standard errors are those
    of means over the positions.
    """
    def error(values):
        return values.std(ddof=1) / len(values)**0.5

    longest = max((k for k in CONTEXTS if 2 * k <= len(held_out)), default=0)
    places = np.unique(np.linspace(longest, len(held_out) - 1, positions).astype(int))
    before = None
    for context in CONTEXTS:
        if context <= longest:
            texts = [held_out[place - context:place + 1] for place in places]
            bits = nll_bits(model, vocabulary, texts, context)[:, 0]
            gain = None if before is None else before - bits
            yield {"context": context, "positions": len(bits), "bits": bits.mean(), "standard_error": error(bits),
                   "gain": gain if gain is None else gain.mean(), "gain_error": gain if gain is None else error(gain)}
            before = bits


def agreement(text, true):
    """How many characters of `text` and `true` (of one length) match before a mismatch, and the share that match."""
    equal = [one == other for one, other in zip(text, true)]
    return (equal + [False]).index(False), sum(equal) / len(equal)


def beam_rows(model, vocabulary, held_out, prompts, length, seed, begin=50, samples=10):
    """Rows of `beams.csv`: continuations of `length` characters of evenly spaced prompts of `begin` characters.

    `log_probability` is in nats per character, `agree` and `equal` are as `agreement` says; those of "sample" are means
    over `samples` texts at temperature 1, of which `text` is the first.
    """
    for k, place in enumerate(np.linspace(0, len(held_out) - begin - length, prompts).astype(int)):
        prompt, true = held_out[place:place + begin], held_out[place + begin:place + begin + length]
        size = begin + length
        texts = {"held-out text": [prompt + true], "greedy": generate(model, vocabulary, size, prompt)}
        for beams in BEAM_SIZES:
            texts[f"{beams} beams"] = [beam_search(model, vocabulary, size, prompt, beams)[0][0]]
        texts["sample"] = generate(model, vocabulary, size, prompt, 1.0, samples, run.generator(seed, f"prompt {k}"))
        for method, group in texts.items():
            log_p = -np.log(2) * nll_bits(model, vocabulary, group, begin).mean()
            agree, equal = np.mean([agreement(text[begin:], true) for text in group], axis=0)
            yield {"prompt": prompt, "method": method, "length": length, "log_probability": log_p, "agree": agree,
                   "equal": equal, "distinct": np.mean([distinct(text[begin:]) for text in group]),
                   "text": group[0][begin:]}


def read_run(checkpoint, txt_file=None):
    """The flags of the run, its training text and its held-out text (str) of a checkpoint of `part2.train_text`.

    Raises `InputError` when there is no held-out text, or `txt_file` (default: the run's) holds another text.
    """
    saved = run.load_checkpoint(checkpoint, train_text.SCRIPT)
    flags = saved["config"] | ({"txt_file": txt_file} if txt_file else {})
    if not flags.get("eval_fraction"):
        raise InputError(f"{checkpoint} was trained without held-out text (--eval_fraction): nothing to measure on")
    book, held_out = train_text.read_book(Namespace(**flags))
    if saved["extra"] != train_text.identity(book):
        raise InputError(f"{flags['txt_file']} is not the text that {checkpoint} was trained on")
    return flags, book.text[:-len(held_out)], book.text[-len(held_out):]


def parse_args(argv=None):
    """Parse the flags of `python -m part2.measure`."""
    parser = cli.Parser("part2.measure", "Measure what a text model writes, and how it uses its context.")
    add = parser.add_argument
    add("--checkpoint", type=cli.path, required=True, help="checkpoint.pt or best.pt of a run of part2.train_text")
    add("--txt_file", type=train_text.book_path, help="the text of the run, where it is elsewhere now")
    add("--num_samples", type=cli.positive_int, default=200, help="texts for each temperature")
    add("--length", type=cli.number(int, at_least=50), default=1000, help="characters of each")
    add("--positions", type=cli.number(int, at_least=2), default=2000, help="held-out characters for each context")
    add("--prompts", type=cli.positive_int, default=20, help="prompts from held-out text, for beam search")
    add("--continuation", type=cli.number(int, at_least=5), default=100, help="characters to write after each prompt")
    add("--seed", type=cli.seed, default=0, help="of the samples")
    add("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps")
    add("--output", type=cli.path, default=files.ROOT / "runs" / "measure", help="folder of the results")
    return parser.parse_args(argv)


def main(config):
    cli.refuse_oversize(config.num_samples * config.length)
    model, vocabulary = load(config.checkpoint, run.choose_device(config.device))
    flags, book, held_out = read_run(config.checkpoint, config.txt_file)
    if len(held_out) < 50 + config.continuation:
        raise InputError(f"{len(held_out)} held-out characters are fewer than a prompt of 50 and --continuation")
    for table, columns in (("samples", ["measure", "low", "high"]), ("context", ["context", "bits"]),
                           ("beams", ["method", "agree"])):
        files.refuse_foreign(config.output / f"{table}.csv", columns)
    style.targets(config.output / "measures")
    samples, context, beams = map(list, (
        sample_rows(model, vocabulary, book, held_out, config.num_samples, config.length, config.seed),
        context_rows(model, vocabulary, held_out, config.positions),
        beam_rows(model, vocabulary, held_out, config.prompts, config.continuation, config.seed)))
    for row in [*samples, *context, *beams]:
        print("  ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value!r}"
                        for name, value in row.items() if value is not None))
    files.make_folder(config.output)
    beams = [{name: value for name, value in row.items() if name not in ("prompt", "text")} for row in beams]
    tables = {config.output / f"{name}.csv": rows for name, rows in (
        ("samples", samples), ("context", context), ("beams", beams))}
    for path, rows in tables.items():
        files.write_csv(path, rows)
    name = f"{flags['lstm_num_hidden']} units, T = {flags['seq_length']}"
    figure = drawing.measures({name: samples}, {name: context}, config.output / "measures", list(tables)[:2])
    print(f"figure: {files.display(figure)}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
