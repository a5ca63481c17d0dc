"""Damaged results: whatever was done to a file, it is refused in one line that names it, or does no harm."""
import random
import shutil

import pytest

from part1 import style
from part1.cli import InputError
from part1.tests.conftest import save_marks
from report import build, plots, tables
from report.results import read_result
from report.tests.campaign import DAMAGE

RESULTS = build.REPORT / "results"
FILES = sorted(path.name for path in RESULTS.glob("*.*") if path.name in {
    *tables.REQUIRED, *(name for sources, _ in plots.FIGURES.values() for name in sources)})


@pytest.fixture(scope="module")
def good():
    return tables.load(RESULTS)


@pytest.fixture
def laid_out(monkeypatch):
    """Figures are laid out, which meets all errors and warnings, but not rendered."""
    def savefig(figure, file, metadata, **_):
        figure.draw_without_rendering()
        save_marks(figure, file, metadata)

    monkeypatch.setattr(style.plt.Figure, "savefig", savefig)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_result_is_refused_by_name_or_harmless(name, good, tmp_path, recwarn, laid_out):
    chance, path, contents = random.Random(name), tmp_path / name, []
    for kind in 10 * ["wrong value"] + 2 * ["cut"]:
        shutil.copyfile(RESULTS / name, path)
        DAMAGE[kind](path, chance)
        contents.append(path.read_bytes())
    if name in ("lengths.csv", "text.json"):
        contents += [b"", b"\n", b"null", b"[" * 10**5, b"\x89PNG\r\n\x1a\n\0", path.read_text().encode("utf-16")]
    made_of_it, numbers_of_it = ([about for about in abouts if name in about]
                                 for abouts in (tables.TABLES.values(), tables.NUMBERS))
    accepted = []
    for content in contents:
        path.write_bytes(content)
        try:
            results = good | {name: read_result(path)}
            for about in made_of_it:
                tables.made(results, *about)
            for about in numbers_of_it:
                tables.definitions(tables.made(results, *about))
            tables.definitions(tables.time_numbers(results))
            accepted.append(content)
        except InputError as error:
            assert name in str(error)
    assert len(accepted) < len(contents)
    figures = [figure for figure, (sources, _) in plots.FIGURES.items() if name == sources[0]]
    for content in accepted[:len(figures)]:
        path.write_bytes(content)
        try:
            plots.draw(tmp_path, tmp_path, figures)
        except InputError as error:
            assert name in str(error)
    assert not recwarn.list


def test_the_message_says_where(tmp_path):
    text = (RESULTS / "lengths.csv").read_text()
    for damaged, message in ((text.replace("1.0,1.0,300", "abc,1.0,300", 1), "line 2 of .*lengths.csv, accuracy must be"
                              " a number from 0 to 1, not 'abc'"),
                             (text.replace("model_type", "model", 1), "lengths.csv has no column model_type$"),
                             (text.replace(",", ";"), "has no column .*separated by commas")):
        (tmp_path / "lengths.csv").write_text(damaged)
        with pytest.raises(InputError, match=message):
            read_result(tmp_path / "lengths.csv")


def test_an_error_of_ours_is_no_error_of_the_files(monkeypatch, tmp_path):
    monkeypatch.delattr(style, "save")
    with pytest.raises(AttributeError):
        plots.draw(RESULTS, tmp_path, ["text"])


def test_a_figure_is_drawn_from_the_results_that_are_there(tmp_path):
    for name in ("text_settings.csv", "text_settings_curves.csv", "text.json", "text_curves.csv"):  # no best one yet
        (tmp_path / name).write_bytes((RESULTS / name).read_bytes())
    assert plots.draw(tmp_path, tmp_path, ["text_settings"]) == [tmp_path / "text_settings.png"]


def test_figures_replace_their_own_files_only_all_or_none(tmp_path, no_rendering):
    (tmp_path / "text_second.png").write_bytes(b"a picture of the user's own")
    (tmp_path / "holiday.png").write_bytes(b"another")
    with pytest.raises(InputError, match="text_second.png exists but was not made here"):
        plots.draw(RESULTS, tmp_path, ["text", "text_second"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday.png", "text_second.png"]
    for _ in range(2):
        assert plots.draw(RESULTS, tmp_path, ["text"]) == [tmp_path / "text.png"]
    assert (tmp_path / "holiday.png").read_bytes() == b"another"
