"""LaTeX for the report's tables: text that shows every character, numbers as people write them, and tabulars."""
import unicodedata

import numpy as np

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "-": "-{}", ",": ",{}", "!": "!{}", "?": "?{}",  # no ligatures such as -- or ,,
    "‘": r"\textquoteleft{}", "’": r"\textquoteright{}", "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}",
    "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\dots{}", "£": r"\pounds{}", "§": r"\S{}", "\u00a0": r"\ ",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "å": r"\aa{}", "Å": r"\AA{}", "\n": r"\lineend{}",
}
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c", "\u030c": "v"}


def escape(text):
    """`text` as LaTeX in plain ASCII that shows every character: line ends as a mark, repeated spaces as such, and one
    that the fonts may not have as its code point."""
    pieces, word_length = [], 0
    for k, character in enumerate(text):
        word_length = 0 if character in " \n-" else word_length + 1
        if character == " ":
            pieces.append(" " if 0 < k < len(text) - 1 and text[k - 1] not in " \n" else r"\ ")
        elif character in SPECIAL:
            pieces.append(SPECIAL[character])
        elif character.isascii() and character.isprintable():
            pieces.append(character)
        else:
            letter, *accents = unicodedata.normalize("NFD", character)
            known = letter.isascii() and letter.isalpha() and len(accents) == 1 and accents[0] in ACCENTS
            pieces.append(f"\\{ACCENTS[accents[0]]}{{{letter}}}" if known else f"\\codepoint{{{ord(character):04X}}}")
        if word_length and word_length % 12 == 0:
            pieces.append(r"\allowbreak{}")  # a word that never ends must not run over the margin
    return "".join(pieces)


def number(value, digits=2):
    """A number with `digits` digits after the point; a whole one from 10,000 with thin spaces."""
    if isinstance(value, (int, np.integer)):
        text = f"{value:,}".replace(",", r"\,") if abs(value) >= 10_000 else str(value)
    else:
        text = f"{value:.{digits}f}"
    return rf"\ensuremath{{{text}}}" if value < 0 else text


def spread(values, digits=3):
    """Mean and standard deviation (n - 1) of `values`; of a single one only itself."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else rf"\ensuremath{{{mean} \pm {np.std(values, ddof=1):.{digits}f}}}"


def tabular(columns, head, *groups):
    """A table whose groups of rows have rules between them; rows are lists of LaTeX, one string per column."""
    bodies = ["".join(" & ".join(row) + " \\\\\n" for row in rows) for rows in ([head], *groups)]
    return (f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n" + "\\midrule\n".join(bodies)
            + "\\bottomrule\n\\end{tabular}\n")


def samples(groups, bar_after=None):
    """Samples in typewriter: pairs of a group's name and its texts, with a bar after `bar_after` characters."""
    bar, blocks = r"{\color{gray}\vrule}", []
    for name, texts in groups:
        lines = [bar.join(map(escape, [text[:bar_after], text[bar_after:]] if bar_after else [text])) for text in texts]
        blocks.append("".join(f"{'' if k else name} & {line} \\\\\n" for k, line in enumerate(lines)))
    return "\\begin{samples}\n" + "\\midrule\n".join(blocks) + "\\end{samples}\n"
