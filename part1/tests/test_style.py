"""The figures' style: both files of a figure, their fingerprint, their bytes, and the band over seeds."""
import os
import warnings

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from part1 import style


def figure(height=1.0):
    figure, axes = style.plt.subplots(figsize=(2, 1.5))
    axes.plot([0, 1], [0, height], label="a line")
    axes.set(xlabel="$t$", ylabel="value")
    axes.legend()
    return figure


@pytest.fixture
def sources(tmp_path):
    files = [tmp_path / "one.csv", tmp_path / "two.csv"]
    files[0].write_text("step,loss\n1,0.5\n")
    files[1].write_text("step,loss\n2,0.25\n")
    return files


def test_a_fingerprint_is_of_contents_order_and_borders(sources, tmp_path):
    one, two = sources
    mark = style.fingerprint(sources)
    assert len(mark) == 64 and int(mark, 16)
    assert mark != style.fingerprint([two, one])
    assert mark == style.fingerprint([str(one), str(two)])
    moved = tmp_path / "moved.csv"
    moved.write_bytes(one.read_bytes())
    assert style.fingerprint([moved, two]) == mark  # names do not matter
    whole = one.read_text() + two.read_text()
    one.write_text(whole[:5])
    two.write_text(whole[5:])
    assert style.fingerprint(sources) != mark  # where a file ends does


def test_a_missing_source_is_an_error(tmp_path):
    with pytest.raises(OSError):
        style.save(figure(), tmp_path / "figure", [tmp_path / "none.csv"])
    style.plt.close("all")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["figure", "figure.pdf", "figure.png"])
def test_a_figure_is_a_pdf_and_a_png_that_carry_the_fingerprint(name, sources, tmp_path):
    folder = tmp_path / "new" / "folder"
    saved = style.save(figure(), folder / name, sources)
    assert saved == folder / "figure.png"
    assert sorted(os.listdir(folder)) == ["figure.pdf", "figure.png"]
    mark = f"sha256:{style.fingerprint(sources)}"
    document = PdfReader(folder / "figure.pdf")
    assert document.metadata["/Keywords"] == mark and "/CreationDate" not in document.metadata
    assert len(document.pages) == 1 and "value" in document.pages[0].extract_text()  # text, not pixels
    with Image.open(saved) as image:
        assert image.text["Keywords"] == mark
        assert image.size == (320, 240)
    assert not style.plt.get_fignums()


@pytest.mark.parametrize("name", ["curves.v2", "accuracy 0.99"])
def test_a_dot_in_a_name_is_no_suffix(name, tmp_path):
    style.save(figure(), tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == [f"{name}.pdf", f"{name}.png"]


def test_saving_is_silent(tmp_path, caplog):
    drawn, axes = style.plt.subplots()
    axes.set(title="日本", ylabel=r"$\Vert W \Vert$")  # characters that the font lacks, one that another font has
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        style.save(drawn, tmp_path / "figure")
    assert caplog.messages == []


def test_the_same_results_give_the_same_bytes_and_others_do_not(sources, tmp_path, monkeypatch):
    style.save(figure(), tmp_path / "one", sources)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")  # what the clock would change
    style.save(figure(), tmp_path / "two", sources)
    sources[0].write_text("other results")
    style.save(figure(), tmp_path / "marked", sources)
    for suffix in (".pdf", ".png"):
        one, two, marked = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "two", "marked"))
        assert one == two != marked


def test_every_network_has_a_colour_that_stays_apart_without_colour():
    colors = style.model_colors(["RNN", "LSTM", "other", "PeepLSTM"])
    assert list(colors) == ["RNN", "LSTM", "other", "PeepLSTM"] and len(set(colors.values())) == 4
    assert style.model_colors(["other", "LSTM"])["LSTM"] == colors["LSTM"]
    grey = [np.dot([int(colour[k:k + 2], 16) for k in (1, 3, 5)], [0.299, 0.587, 0.114])
            for colour in style.MODEL_COLORS.values()]
    assert min(abs(one - other) for k, one in enumerate(grey) for other in grey[:k]) > 10
