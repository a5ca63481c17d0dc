"""Everything that Question 2 asks to report about one text model: curves, samples, temperatures, endings, beams.

    python -m part2.study                                               # a small model of the built-in fables, minutes
    python -m part2.study --output runs/grimm --txt_file grimm.txt --strip_gutenberg --prompts "Sleeping beauty is"

Trains with `part2.train_text` (which gets the flags that this script does not know), or goes on with the training that
`--output` holds, then lets the network write, with the weights of its lowest held-out loss if there is held-out text.
Results, in `--output`: `text.json`, `curves.csv`, `curves.pdf` / `.png`.
"""
import math
import re
import sys
from argparse import Namespace
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from part1 import cli, files, run, style
from part1.cli import InputError
from part2 import drawing, train_text
from part2.generate import beam_search, generate, load

TEMPERATURES = (0.5, 1.0, 2.0, None)  # the assignment's three, and greedy
BEAM_SIZES = (1, 2, 5, 10)


def parse_args(argv=None):
    """Parse the flags of `python -m part2.study`; `settings` of the result holds those of the training."""
    parser = cli.Parser("part2.study", "Train a text model and let it write. Other flags go to part2.train_text.")
    add = parser.add_argument
    add("--output", type=cli.path, default=files.ROOT / "runs" / "text", help="folder of the study")
    add("--prompts", nargs="+", default=["The fox", "Once there was", "\"I do not know,\" said"], metavar="TEXT",
        help="sentences to finish; the first one is also searched with beams")
    config, train_flags = parser.parse_known_args(argv)
    train_config = train_text.parse_args(train_flags)
    if train_config.resume:
        parser.error("--resume is not for a study: the same command goes on where it stopped")
    config.settings = {name: getattr(train_config, name) for name in train_config.typed}
    return config


def read_samples(path):
    """The blocks of a `samples.txt`: a dict from the update to its list of longest sentences."""
    blocks = {}
    for line in Path(path).read_text(encoding="utf-8").split("\n"):  # splitlines would also split at form feeds
        if header := re.fullmatch(r"update (\d+) of \d+", line):
            sentences = blocks[int(header[1])] = {}
        elif sample := re.fullmatch(r"  (\d+), *\d+ characters: (.*)", line):
            sentences[sample[1]] = sample[2].replace("↵", "\n")  # the last of a sentence's lengths is the longest
    return {update: list(sentences.values()) for update, sentences in blocks.items()}


def thinned(rows, most=150):
    """At most `most` rows from the many of a `metrics.csv`: means of loss and accuracy, the last held-out ones."""
    thin = []
    for piece in np.array_split(np.arange(len(rows)), min(most, len(rows))):
        group = [rows[k] for k in piece]
        row = {"step": group[-1]["step"]}
        for name in ("loss", "accuracy"):
            row[name] = round(float(np.mean([old[name] for old in group])), 5)
        held_out = [old for old in group if old["eval_loss"] is not None]
        for name in ("eval_loss", "eval_accuracy"):
            row[name] = round(held_out[-1][name], 5) if held_out else None
        thin.append(row)
    return thin


def write(model, vocabulary, prompts, seed):
    """What the network writes: samples at each temperature, finished sentences, and beams for the first prompt."""
    def texts(length, prompt="", temperature=None, count=1):
        return generate(model, vocabulary, length, prompt, temperature, count, run.generator(seed, "study"))

    beams = [(size, *beam_search(model, vocabulary, len(prompts[0]) + 80, prompts[0], size)[0]) for size in BEAM_SIZES]
    return {
        "temperatures": [{"temperature": tau, "samples": texts(90, "", tau, 5)} for tau in TEMPERATURES],
        "sentences": [{"prompt": prompt, "greedy": texts(len(prompt) + 120, prompt)[0],
                       "temperature 2": texts(len(prompt) + 120, prompt, 2.0)[0]} for prompt in prompts],
        "beams": [{"beam_size": size, "text": text, "log_probability": round(log_p, 4)} for size, text, log_p in beams],
    }


def study(output, prompts, settings, quiet=False):
    """Train in the folder `output` / "training", or go on there, and let the network write.

    `output` is a `Path`, `prompts` are sentences to finish, and `settings` the flags of `part2.train_text`, by name,
    that are not at their defaults. Writes `text.json` and `curves.csv`, and returns the content of `text.json`.
    Raises as `train_text.train` does; `InputError` also for an unusable prompt.
    """
    files.refuse_foreign(output / "curves.csv", ["step", "loss", "accuracy", "eval_loss", "eval_accuracy"])
    old = output / "text.json"
    if old.exists() and "text_sha256" not in old.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{files.display(old)} would be replaced, but was not made here: choose another --output")
    style.targets(output / "curves")
    folder = output / "training"
    checkpoint = folder / "checkpoint.pt"
    flags = vars(train_text.parse_args([])) | settings | {"typed": set(settings), "output": folder}
    config, _ = run.begin(train_text.SCRIPT, Namespace(**flags | {"resume": checkpoint.exists()}))
    book, held_out = train_text.read_book(config)
    for prompt in prompts:  # an error before the training, not after it
        if not prompt:
            raise InputError("a prompt of --prompts is empty")
        book.encode(prompt)
    result = train_text.train(config, quiet)
    del result["folder"]
    saved = run.load_checkpoint(checkpoint, train_text.SCRIPT)
    rows, best = files.read_csv(folder / "metrics.csv"), None
    model, vocabulary = load(folder / "best.pt" if config.eval_fraction else checkpoint)
    if config.eval_fraction:
        step = run.load_checkpoint(folder / "best.pt", train_text.SCRIPT)["step"]
        best = next((row for row in rows if row["step"] == step), None)
        if best is None:  # the end of a shorter run, which has grown and is not evaluated there
            loss, accuracy = train_text.evaluate(model, held_out)
            best = dict.fromkeys(rows[0]) | {"step": step, "eval_loss": loss, "eval_accuracy": accuracy,
                                             "bits_per_character": loss / math.log(2)}
    samples = read_samples(folder / "samples.txt")
    # A run that has grown was not sampled at the thirds of its final length, but before.
    sampled = [max(update for update in samples if update <= stage) for stage in train_text.stages(config.train_steps)]
    content = {"settings": saved["config"] | {"txt_file": Path(config.txt_file).name},
               "text_sha256": saved["extra"]["sha256"], "characters": len(book.text),
               "vocabulary_size": vocabulary.vocab_size,
               "parameters": sum(parameter.numel() for parameter in model.parameters()), "result": result,
               "best": best,
               "stages": [{"update": update, "samples": samples[update]} for update in sampled],
               **write(model, vocabulary, prompts, config.seed)}
    files.write_json(output / "text.json", content)
    files.write_csv(output / "curves.csv", thinned(rows))
    return content


def main(config):
    content = study(config.output, config.prompts, config.settings)
    curves = config.output / "curves.csv"
    name = Path(content["settings"]["txt_file"]).stem
    figure = drawing.learning_curves([(name, files.read_csv(curves))], config.output / "curves", [curves])
    texts = {f"greedy after update {stage['update']}": stage["samples"] for stage in content["stages"]}
    for row in content["temperatures"]:
        texts[f"temperature {row['temperature']}" if row["temperature"] else "greedy"] = row["samples"]
    texts["sentences finished greedily"] = [row["greedy"] for row in content["sentences"]]
    for row in content["beams"]:
        texts[f"{row['beam_size']} beams, log-probability {row['log_probability']:.2f}"] = [row["text"]]
    for name, lines in texts.items():
        print(f"{name}:", *(line.replace("\n", "↵") for line in lines), "", sep="\n")
    print(f"figure: {files.display(figure)}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
