"""Everything that Question 2 asks to report about one text model: curves, samples, temperatures, endings, beams.

    python -m part2.study                                               # a small model of the built-in fables, minutes
    python -m part2.study --output runs/grimm --txt_file grimm.txt --prompts "Sleeping beauty is" --train_steps 8441

Trains with `part2.train_text` (which gets the flags that this script does not know), or goes on with the training that
`--output` holds, then lets the network write. Results, in `--output`: `text.json`, `curves.csv`, `curves.pdf` / `.png`.
"""
import re
import sys
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, run  # before torch, see part1/run.py
import numpy as np
import torch

from part2 import train_text
from part2.generate import beam_search, generate
from part2.model import load
from report import style

TEMPERATURES = (0.5, 1.0, 2.0, None)  # the assignment's three, and greedy
BEAM_SIZES = (1, 2, 5, 10)


def parse_args(argv=None):
    """Parse the flags of `python -m part2.study`; `train_config` of the result holds those of the training."""
    parser = cli.Parser("part2.study", "Train a text model and let it write. Other flags go to part2.train_text.")
    add = parser.add_argument
    add("--output", type=cli.path, default=cli.ROOT / "runs" / "text", help="folder of the study")
    add("--prompts", nargs="+", default=["The fox", "Once there was", "\"I do not know,\" said"], metavar="TEXT",
        help="sentences to finish; the first one is also searched with beams")
    config, train_flags = parser.parse_known_args(argv)
    for flag in ("--resume", "--print_every"):
        if any(word.split("=")[0] == flag for word in train_flags):
            parser.error(f"{flag} is not for a study: "
                         + ("the same command goes on where it stopped" if flag == "--resume" else "it is 5"))
    folder = config.output / "training"
    resume = ["--resume"] if (folder / "checkpoint.pt").exists() else []
    config.train_config = train_text.parse_args([*train_flags, "--output", str(folder), *resume])
    return config


def read_samples(path):
    """The blocks of a `samples.txt`: a dict from the update to its list of longest sentences."""
    blocks = {}
    for line in Path(path).read_text(encoding="utf-8").split("\n"):  # splitlines would also split at form feeds
        if header := re.fullmatch(r"update (\d+) of \d+", line):
            blocks[int(header[1])] = found = {}
        elif sample := re.fullmatch(r"  (\d+), *\d+ characters: (.*)", line):
            found[sample[1]] = sample[2].replace("↵", "\n")  # the last of a sentence's lengths is the longest
    return {update: list(found.values()) for update, found in blocks.items()}


def thinned(rows, most=150):
    """At most `most` rows from the many of a `metrics.csv`: means of loss and accuracy, the last held-out loss."""
    pieces = np.array_split(np.arange(len(rows)), min(most, len(rows)))
    groups = [[rows[k] for k in piece] for piece in pieces]
    return [{"step": group[-1]["step"],
             "loss": round(float(np.mean([row["loss"] for row in group])), 5),
             "accuracy": round(float(np.mean([row["accuracy"] for row in group])), 5),
             "eval_loss": next((round(row["eval_loss"], 5) for row in reversed(group) if row["eval_loss"]), None)}
            for group in groups]


def write(model, vocabulary, prompts, seed):
    """What the network writes: samples at each temperature, finished sentences, and beams for the first prompt."""
    def texts(length, prompt="", temperature=None, count=1):
        return generate(model, vocabulary, length, prompt, temperature, count, run.generator(seed, "study"))

    beams = {size: beam_search(model, vocabulary, len(prompts[0]) + 80, prompts[0], size) for size in BEAM_SIZES}
    return {
        "temperatures": [{"temperature": tau, "samples": texts(90, "", tau, 5)} for tau in TEMPERATURES],
        "sentences": [{"prompt": prompt, "greedy": texts(len(prompt) + 120, prompt)[0],
                       "temperature 2": texts(len(prompt) + 120, prompt, 2.0)[0]} for prompt in prompts],
        "beams": [{"beam_size": size, "text": found[0][0], "log_probability": round(found[0][1], 4)}
                  for size, found in beams.items()],
    }


def draw(curves, path, sources=()):
    """Draw loss and accuracy of the training against updates, and the held-out loss where there is one."""
    figure, (left, right) = style.plt.subplots(1, 2)
    step = [row["step"] for row in curves]
    left.plot(step, [row["loss"] for row in curves], label="training")
    held_out = [(row["step"], row["eval_loss"]) for row in curves if row["eval_loss"] is not None]
    if held_out:
        left.plot(*zip(*held_out), label="held-out text")
        left.legend()
    right.plot(step, [row["accuracy"] for row in curves])
    left.set(xlabel="update", ylabel="cross-entropy (nats)")
    right.set(xlabel="update", ylabel="next-character accuracy")
    return style.save(figure, path, sources)


def study(config, quiet=False):
    """Train and write as `config` (from `parse_args`) says; returns the content of `text.json`."""
    settings = config.train_config
    if settings.resume:  # flags that are not typed again are those of the training
        settings = run.settings_of(run.load_checkpoint(settings.output / "checkpoint.pt", train_text.SCRIPT))
    book, _ = train_text.read_book(settings)
    for prompt in config.prompts:  # an error before the training, not after it
        if not prompt:
            raise ValueError("a prompt of --prompts is empty")
        book.encode(prompt)
    result = train_text.train(config.train_config, quiet)
    folder = Path(result.pop("folder"))
    checkpoint = run.load_checkpoint(folder / "checkpoint.pt", train_text.SCRIPT)
    settings = {**checkpoint["config"], "txt_file": Path(checkpoint["config"]["txt_file"]).name}
    model, vocabulary = load(folder / "checkpoint.pt")
    samples = read_samples(folder / "samples.txt")
    # A run that has grown was not sampled at the thirds of its final length, but before.
    sampled = [max(update for update in samples if update <= stage)
               for stage in train_text.stages(settings["train_steps"])]
    content = {"settings": settings, "text_sha256": checkpoint["extra"]["sha256"], "characters": len(book.text),
               "vocabulary_size": vocabulary.vocab_size,
               "parameters": sum(parameter.numel() for parameter in model.parameters()), "result": result,
               "stages": [{"update": update, "samples": samples[update]} for update in sampled],
               **write(model, vocabulary, config.prompts, settings["seed"])}
    run.write_json(config.output / "text.json", content)
    run.write_csv(config.output / "curves.csv", thinned(run.read_metrics(folder / "metrics.csv")))
    return content


def report(content):
    """The samples of a study as text for people."""
    lines = []
    for stage in content["stages"]:
        lines += [f"after update {stage['update']}, greedy:", *stage["samples"], ""]
    for row in content["temperatures"]:
        name = "greedy" if row["temperature"] is None else f"temperature {row['temperature']:g}"
        lines += [f"{name}:", *row["samples"], ""]
    lines += ["finished sentences, greedy:", *(row["greedy"] for row in content["sentences"]), ""]
    lines += ["beam search:", *(f"{row['beam_size']:3} beams, log-probability {row['log_probability']:.2f}: "
                                f"{row['text']}" for row in content["beams"])]
    return "\n".join(line.replace("\n", "↵") for line in lines)


def main(config):
    content = study(config)
    print(report(content))
    curves = config.output / "curves.csv"
    print(f"figure: {run.shorter(draw(run.read_metrics(curves), config.output / 'curves', [curves]))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
