"""The built-in corpus is clean, varied text, and what its README says about it is true."""
import hashlib
import re

import pytest

from part1 import files

ASSETS = files.ROOT / "assets"
RAW = (ASSETS / "fables.txt").read_bytes()
TEXT = RAW.decode("ascii")
PARAGRAPHS = re.split(r"\n{2,}", TEXT.strip("\n"))
TITLES = [paragraph for paragraph in PARAGRAPHS if paragraph.isupper()]


def repeated_passages(text, length):
    """The passages of `length` characters that come more than once, white space of any kind counting as one space."""
    text = re.sub(r"\s+", " ", text)
    seen, repeated = set(), set()
    for start in range(len(text) - length + 1):
        passage = text[start:start + length]
        (repeated if passage in seen else seen).add(passage)
    return repeated


def test_size_and_characters():
    assert len(RAW) >= 65536
    assert set(TEXT) <= set("\n abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:?!'\"-")
    assert TEXT.endswith("\n") and not TEXT.endswith("\n\n")


def test_layout():
    assert all(len(line) <= 78 and line == line.strip() for line in TEXT.split("\n"))
    assert not re.search(r"\n{4}|  ", TEXT)
    assert len(TITLES) >= 35 and PARAGRAPHS[0] in TITLES
    assert all("\n\n\n" + title + "\n\n" in "\n\n\n" + TEXT for title in TITLES)


def test_quotes_are_in_pairs():
    assert [paragraph for paragraph in PARAGRAPHS if paragraph.count('"') % 2] == []
    assert " - " not in TEXT and "--" not in TEXT and "..." not in TEXT


def test_no_paragraph_and_no_title_comes_twice():
    assert len(set(PARAGRAPHS)) == len(PARAGRAPHS) > 500


def test_no_long_passage_comes_twice():
    assert repeated_passages(TEXT, 60) == set()


@pytest.mark.parametrize("fact", [hashlib.sha256(RAW).hexdigest(), f"{len(RAW)} bytes", f"{len(TITLES)} fables",
                                  f"{len(set(TEXT))} distinct characters", "CC0 1.0", "python -m assets.download"])
def test_the_readme_is_right(fact):
    assert fact in (ASSETS / "README.md").read_text(encoding="utf-8")
