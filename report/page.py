"""The page of the quick studies: one HTML file that opens with a double click, needs no network, runs no scripts.

`write` makes it from the results and figures that exist; `report.reproduce` does so after every study, so that the
page can be watched while it grows. Its style is in page.css; everything is copied into the file, figures as PNG.
"""
import base64
import re
from html import escape
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

from part1 import files
from part1.style import model_name
from report.results import making, read_result
from report.tables import SOLVED, accuracies, cells, share

RESULTS = {"model_type", "palindrome_length", "seed", "steps", "loss", "eval_loss", "accuracy", "best_accuracy",
           "steps_to_target", "seconds", "input_length"}  # columns of a sweep's table that are no settings
STYLE = Path(__file__).with_name("page.css")


class Entry(NamedTuple):
    """A study as the page lists it: `seconds` is the time that it took, or None where that is not known."""

    name: str
    about: str
    command: str  # makes it again
    done: bool
    seconds: float | None = None


def duration(seconds):
    """A time for people: under 1 s, 48 s, 2 min 05 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s" if rest else "under 1 s"


def power(value):
    """A positive number with two digits, a small one as a multiple of a power of ten."""
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits} × 10<sup>−{-int(exponent)}</sup>" if value < 0.01 else f"{value:.2g}"


def texts(title, samples, prompts=None):
    """A titled list of texts that a network wrote, with visible line ends; each begins with its prompt, in bold."""
    items = []
    for text, prompt in zip(samples, prompts or [""] * len(samples)):
        bold = f"<strong>{escape(prompt)}</strong>" if prompt else ""
        items.append(f'<li class="text">{bold}{escape(text[len(prompt):])}</li>'.replace("\n", "<i>↵</i>"))
    return f'<h4>{title}</h4>\n<ol class="texts">{"".join(items)}</ol>'


def commands(studies):
    """Command lines, a line each, that are broken between flags, not inside them."""
    return "\n".join(" ".join(f"<span>{escape(words)}</span>" for words in re.split(" (?=--)", study.command))
                     for study in studies)


def table(caption, head, rows, numbers=None, kind=""):
    """A table in a box that scrolls; cells are HTML, those from column `numbers` on are aligned at the right."""
    align = [" class=number" if numbers is not None and k >= numbers else "" for k in range(len(head))]
    lines = [f'<div class="scroll"><table class="{kind}">{caption and f"<caption>{caption}</caption>"}<thead><tr>',
             *(f"<th scope=col{right}>{cell}</th>" for right, cell in zip(align, head)), "</tr></thead><tbody>"]
    for first, *others in rows:
        fields = (f"<td{right}>{field}</td>" for right, field in zip(align[1:], others))
        lines.append(f"<tr><th scope=row>{first}</th>{''.join(fields)}</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def settings(networks):
    """A list of settings: `networks` is a dict from what they apply to to a dict of them."""
    lines = []
    for title, values in networks.items():
        words = (f"<span>{escape(name)} <code>{escape(str(value))}</code></span>"
                 for name, value in values.items() if value not in (None, ""))
        lines.append(f"<dt>{escape(title)}</dt><dd>{' '.join(words)}</dd>")
    return f'<h3>Settings</h3>\n<dl class="settings">{"".join(lines)}</dl>'


def sweep_section(results, study):
    """How many seeds solved each length, and the settings, those that differ between the networks by network."""
    body, networks = [], {}
    for model, lengths in cells(read_result(results / f"{study}.csv")).items():
        for T, rows in lengths.items():
            accuracy = accuracies(rows)
            spread = f" ± {np.std(accuracy, ddof=1):.3f}" if len(rows) > 1 else ""
            body.append([escape(model_name(model)), T, share(value >= SOLVED for value in accuracy),
                         f"{np.mean(accuracy):.3f}{spread}", f"{np.mean([row['steps'] for row in rows]):.0f}"])
        networks[model_name(model)] = {name: value for name, value in rows[0].items() if name not in RESULTS}
    first, *others = networks.values()
    shared = {name: value for name, value in first.items() if all(other[name] == value for other in others)}
    own = {model: {name: value for name, value in values.items() if name not in shared}
           for model, values in networks.items() if values != shared}
    return table(f"Seeds that reach an accuracy of {SOLVED}, mean accuracy ± standard deviation over the seeds, and "
                 "mean number of updates.", ["network", "length", "solved", "accuracy", "updates"], body, 1
                 ) + settings({"all networks": shared, **own})


def gradients_section(results, study):
    """The gradient at the first time step and the last."""
    curves = files.grouped(read_result(results / f"{study}.csv"), "model_type", "input", "state")
    return table("Norm of the gradient at the first time step and the last, geometric mean over the seeds.",
                 ["network", "digits", "state", "first", "last", "seeds"],
                 [[escape(model_name(model)), digits, f"<i>{state}</i>", power(rows[0]["norm"]), power(rows[-1]["norm"]),
                   rows[0]["seeds"]] for (model, digits, state), rows in curves.items()], 3)


def text_section(results, study):
    """What the text model wrote: at each stage, at each temperature, from prompts, and with beams."""
    content = read_result(results / f"{study}.json")
    result, best, sentences = content["result"], content["best"], content["sentences"]
    prompts = [row["prompt"] for row in sentences]
    parts = [
        f"<p>After {result['steps']:,} updates the model predicts {result['accuracy']:.1%} of the next characters of "
        f"its training text; of held-out text it predicts {best['eval_accuracy']:.1%} and needs "
        f"{best['bits_per_character']:.2f} bits per character at its best, after {best['step']:,} updates. The text "
        f"has {content['characters']:,} characters, {content['vocabulary_size']} different ones; the network has "
        f"{content['parameters']:,} parameters.</p>",
        '<h3>Samples at each stage</h3>\n<p class="note">Five texts each, greedy: always the likeliest next character, '
        'from a random first one. <span class="text"><i>↵</i></span> is a line end.</p>']
    parts += [texts(f"After update {stage['update']:,}", stage["samples"]) for stage in content["stages"]]
    parts.append('<h3>Temperatures</h3>\n<p class="note">Sampled from softmax(τ · logits), with the best weights: '
                 "a larger τ keeps to likelier characters.</p>")
    parts += [texts(f"τ = {row['temperature']:g}" if row["temperature"] else "greedy", row["samples"])
              for row in content["temperatures"]]
    parts.append("<h3>Finished sentences</h3>")
    parts += [texts(title, [row[how] for row in sentences], prompts)
              for title, how in (("greedy", "greedy"), ("τ = 2", "temperature 2"))]
    parts.append('<h3>Beam search</h3>\n<p class="note">The likeliest text that each number of beams finds.</p>')
    for row in content["beams"]:
        beams = f"{row['beam_size']} beams" if row["beam_size"] > 1 else "one beam"
        parts.append(texts(f"{beams}, log-probability −{-row['log_probability']:.2f}", [row["text"]], prompts))
    return "\n".join(parts) + settings({"text model": content["settings"]})


def counting_section(results, study):
    """Bits per held-out character of n-grams and compressors."""
    return table("Bits per character of the same held-out text that n-grams need, and that compressors add to the "
                 "compressed training text.", ["model", "bits"],
                 [[escape(row["model"]), f"{row['held_out_bits']:.2f}"] for row in read_result(
                     results / f"{study}.csv")], 1)


def graph_section(results, study):
    """Atilde, the number of updates and a path."""
    graph = read_result(results / f"{study}.json")
    nodes, path = graph["nodes"], graph["path"]
    matrix = table("Ã = A + I", ["", *nodes], [[name, *row] for name, row in zip(nodes, graph["Atilde"])],
                   kind="matrix")
    return (f"{matrix}<p><strong>{graph['updates']} updates</strong> from {path[0]} to {path[-1]}, "
            f"for example {' – '.join(path)}.</p>")


class Section(NamedTuple):
    """A part of the page: its studies, by name, what shows each of them, and a figure with its caption."""

    title: str
    question: str
    studies: tuple
    show: Callable
    figure: str
    caption: str


SECTIONS = (
    Section("How far they remember", "Questions 1.3 and 1.6 of 2019", ("latch", "lengths"), sweep_section,
            "horizon", "The share of the seeds that solve palindromes of T digits, from 0 to 1 in the lane of each "
            "setting, with its 95 % interval (dots: the accuracy of each seed), and the updates that takes, with the "
            "range over the seeds. Latch: initial weights that let the first digit decide the state; orthogonal "
            "recurrent weights (RNN) and chrono gate biases (LSTM) start with a long memory."),
    Section("Gradients through time", "Question 1.7 of 2019", ("gradients",), gradients_section,
            "gradients", "The gradient of the last step's loss that reaches each time step of an untrained network: "
            "geometric mean and geometric standard deviation over the seeds. Solid and dashed: one-hot digits; "
            "dotted: raw ones."),
    Section("Binary palindromes, at reduced size", "Questions 1.3 and 1.4 of 2020", ("binary",), sweep_section,
            "binary", "Accuracy and loss on the evaluation set during the training: each seed, and the mean over "
            "the seeds. The dashed line is the best blind guess. Below, the label's entropy, and "
            "what is left of it when the last three bits are known."),
    Section("A text model", "Questions 2.1 to 2.3", ("text",), text_section, "text", "Loss and accuracy "
            "of the next character during the training, on the training text (thin) and on held-out text. Dashed: "
            "what counting reaches."),
    Section("What counting reaches", "Beside the text model", ("ngram",), counting_section, "ngram", ""),
    Section("Graphs", "Question 3.2", ("graph_2019", "graph_2020"), graph_section, "graphs", "How the information of "
            "node C spreads over the example graphs of both editions, update by update, until it reaches E."),
)


def section_html(section, studies, results, figures):
    """A section of the page: the figure, what `section.show` makes of each of its `studies`, and their commands."""
    parts = [f'<section id="{section.figure}">\n<h2>{section.title}</h2>\n<p class="question">{section.question}</p>']
    picture = figures / f"{section.figure}.png"
    if picture.exists() and any(study.done for study in studies):
        content = base64.b64encode(picture.read_bytes()).decode()
        parts.append(f'<figure><div class="picture"><img alt="{section.caption} Its values are given below." '
                     f'src="data:image/png;base64,{content}"></div><figcaption>{section.caption}</figcaption></figure>')
    bodies = []
    for study in studies:
        with making("the page", results.glob(f"{study.name}.*")):
            bodies.append(section.show(results, study.name) if study.done
                          else f'<p class="note">Not done yet: {escape(study.about)}.</p>')
    if len(bodies) > 1:
        bodies = [f"<h3>{escape(study.about[0].upper() + study.about[1:])}</h3>\n{body}"
                  for study, body in zip(studies, bodies)]
    parts += bodies
    parts += ["<h3>To make it again</h3>", f"<pre><code>{commands(studies)}</code></pre>", "</section>"]
    return "\n".join(parts)


def write(path, studies, results, figures):
    """Write the page of `studies`, `Entry`s, to the file `path`; `results` and `figures` are folders."""
    body, link = [], {}
    for section in SECTIONS:
        if own := [study for study in studies if study.name in section.studies]:
            body.append(section_html(section, own, results, figures))
            link |= {study.name: f'href="#{section.figure}"' for study in own}
    overview = table("", ["study", "time"], [
        [f"<a {link.get(study.name, '')}>{escape(study.about)}</a>",
         '<span class="note">not done yet</span>' if not study.done
         else "done" if study.seconds is None else duration(study.seconds)] for study in studies], 1)
    done = [study for study in studies if study.done]
    total = duration(sum(study.seconds or 0 for study in done))
    state = (f"All {len(done)} studies are done, in {total}." if len(done) == len(studies) else
             f"{len(done)} of {len(studies)} studies are done, in {total}. Reload the page to see it grow.")
    files.write_atomically(path, f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The quick study</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>Recurrent and graph neural networks: the quick study</h1>
<p class="lead">Small versions of the studies behind <code>report/report.pdf</code>, trained on this machine.</p>
<p><strong>{state}</strong></p>
{overview}
</header>
<main>
{"".join(body)}
</main>
<footer>
<p class="note">Written by <code>python -m report.reproduce</code>, which goes on where it was interrupted.
The commands above are for the repository’s folder, and what they make goes to folders of its own.
<code>python -m report.reproduce --preset full</code> runs the studies at full size.</p>
</footer>
</body>
</html>
""".encode(errors="replace"))
