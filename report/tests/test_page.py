"""The page of the quick studies: complete, escaped, self-contained, and as wide as the screen in a real browser."""
import base64
import html.parser
import io
import json
import re
import shutil
import subprocess

import matplotlib.image
import numpy as np
import pytest

from part1 import files
from report import page
from report.tests.conftest import NASTY, make_results

HOSTILE = "<script>alert(1)</script>\n</li></body> &lt; &amp; \" ' onload=\"x\" \n" + "w" * 200
FIGURES = ("horizon", "gradients", "text", "graphs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `results`, `figures` and the page of them, with hostile texts where a network writes; the binary
    study is not done yet."""
    folder = tmp_path_factory.mktemp("quick")
    make_results(folder / "results", HOSTILE)
    files.write_csv(folder / "results" / "ngram.csv", [
        {"model": "<5>-gram", "held_out_bits": 2.174, "whole_text_bits": None}])
    (folder / "figures").mkdir()
    for k, name in enumerate(FIGURES):
        matplotlib.image.imsave(folder / "figures" / f"{name}.png", np.full((40, 90 + k, 3), 0.5))
    studies = [page.Entry("graph_2019", "the graph of 2019", "python -m part3.gcn --edition 2019", True, 0.02),
               page.Entry("graph_2020", "the graph of 2020", "python -m part3.gcn --edition 2020", True),
               page.Entry("lengths", "accuracy & length", "python -m part1.sweep " + "--seeds 0 1 2 " * 20, True, 75.4),
               page.Entry("gradients", "gradients <through> time", "python -m part1.grads_over_time", True, 3700.0),
               page.Entry("binary", "binary palindromes", "python -m part1.sweep --preset 2020D", False),
               page.Entry("text", "a text model", f"python -m part2.study --prompts '{HOSTILE}'", True, 59.6),
               page.Entry("ngram", "n-grams", "python -m part2.ngram", True, 0.5)]
    page.write(folder / "index.html", studies, folder / "results", folder / "figures")
    return folder


class Reader(html.parser.HTMLParser):
    """Reads a page: its tags with their attributes, and its text in pieces, one from each tag of the listed ones on."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag in ("li", "td", "th", "code", "h1", "h2", "h4", "p"):
            self.texts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data


@pytest.fixture(scope="module")
def read(folder):
    return Reader((folder / "index.html").read_text(encoding="utf-8"))


def test_every_element_is_closed_and_nothing_is_loaded_from_elsewhere_or_run(read):
    tags = [tag for tag, _ in read.tags]
    assert read.open == [] and tags.count("h1") == tags.count("main") == 1
    assert ("html", {"lang": "en"}) in read.tags
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in read.tags
    assert not {"script", "link", "iframe", "object", "base"} & set(tags)
    for _, attributes in read.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert attributes.get("src", "data:").startswith("data:") and attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import", page.STYLE.read_text())


def test_links_lead_to_sections_and_figures_have_texts_and_decode(read, folder):
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    links = [attributes["href"][1:] for tag, attributes in read.tags if tag == "a"]
    assert len(set(ids)) == len(ids) == 6 and set(links) == set(ids) and len(links) == 7
    pictures = [attributes for tag, attributes in read.tags if tag == "img"]
    assert [np.shape(matplotlib.image.imread(io.BytesIO(base64.b64decode(picture["src"].split(",")[1]))))[:2]
            for picture in pictures] == [(40, 90 + k) for k in range(4)]
    assert all(len(picture["alt"]) > 40 for picture in pictures)


@pytest.mark.parametrize("text", [
    "accuracy & length", "gradients <through> time", HOSTILE.replace("\n", "↵"), NASTY.replace("\n", "↵"),
    "Not done yet: binary palindromes.",
    "After update 900", "τ = 0.5", "one beam, log-probability −59.00", "3 updates from C to E, for example C – ",
    "<5>-gram", "2.17", "5 of 5", "0.400 ± 0.000", "1.9 × 10−6",
    "python -m part3.gcn --edition 2019\npython -m part3.gcn --edition 2020"])
def test_what_it_says(read, text):
    assert any(text in one for one in read.texts)


def test_the_overview_says_how_long_each_study_took(folder):
    overview = (folder / "index.html").read_text(encoding="utf-8").split("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", overview)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert [[html.unescape(re.sub("<[^>]*>", "", cell)) for cell in row] for row in cells if row] == [
        ["the graph of 2019", "under 1 s"], ["the graph of 2020", "done"], ["accuracy & length", "1 min 15 s"],
        ["gradients <through> time", "61 min 40 s"], ["binary palindromes", "not done yet"],
        ["a text model", "1 min 00 s"], ["n-grams", "under 1 s"]]


def test_a_page_of_nothing_lists_what_is_to_come(tmp_path):
    page.write(tmp_path / "index.html", [page.Entry("text", "a text model", "python -m part2.study", False)],
               tmp_path, tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert "0 of 1 studies are done" in text and "Not done yet: a text model." in text and "<img" not in text


def test_settings_that_differ_are_listed_by_network(folder):
    text = re.sub(r"<[^>]*>", " ", page.sweep_section(folder / "results", "lengths").split("Settings")[1])
    assert text.split()[:4] == "all networks dataset palindrome".split()
    assert text.split()[-6:] == "RNN init orthogonal LSTM init xavier".split()


# In a browser

CHROMIUM = shutil.which("chromium")
FLAGS = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync --allow-file-access-from-files --virtual-time-budget=10000").split()
MEASURE = """<!DOCTYPE html><body>
<iframe src="index.html" style="width: WIDTHpx; height: 900px; border: 0"></iframe><script>
onload = () => { const page = frames[0], root = page.document.documentElement;
  document.body.textContent = JSON.stringify({
    width: page.innerWidth, content: Math.max(root.scrollWidth, page.document.body.scrollWidth),
    pictures: [...page.document.images].map(image => image.naturalWidth),
    drawn: [...page.document.images].map(image => image.getBoundingClientRect().width),
    loaded: page.performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 5)),
    font: parseFloat(page.getComputedStyle(page.document.querySelector("li.text")).fontSize),
    shown: page.document.querySelector("li.text").innerText, mode: page.document.compatMode }); };
</script></body>"""


@pytest.mark.skipif(not CHROMIUM, reason="there is no chromium here; to get it: apt-get install chromium")
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_it_whole_at_any_width_and_asks_no_network(folder, tmp_path, width):
    (tmp_path / "measure.html").write_text(MEASURE.replace("WIDTH", str(width)))
    shutil.copy(folder / "index.html", tmp_path)
    done = subprocess.run([CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
                           (tmp_path / "measure.html").as_uri()], capture_output=True, text=True, timeout=120)
    body = re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    assert body, done.stderr[-2000:]
    seen = json.loads(html.unescape(body[1]))
    assert seen["width"] == width and seen["content"] <= width
    assert seen["pictures"] == [90, 91, 92, 93] and all(200 < drawn <= width for drawn in seen["drawn"])
    assert set(seen["loaded"]) <= {"data:"}
    assert seen["shown"] == HOSTILE.replace("\n", "↵") and seen["font"] >= 12 and seen["mode"] == "CSS1Compat"
