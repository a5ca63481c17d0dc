"""Damaged results: whatever was done to a file, it is refused in one line that names it, or does no harm."""
import csv
import io
import json
import random

import pytest

from part1 import style
from part1.cli import InputError
from part1.tests.conftest import save_marks
from report import build, plots, tables
from report.results import read_result

RESULTS = build.REPORT / "results"
FILES = sorted(path.name for path in RESULTS.glob("*.*") if path.name in {
    *tables.REQUIRED, *(name for sources, _ in plots.FIGURES.values() for name in sources)})
JUNK = ["abc", "", "nan", "1e999", "1e300", "-5", "0", "9" * 30, "9" * 5000, "0,99", "\0"]


def table_damages(text, draw):
    """Damaged versions of a CSV text: a column or rows lost, junk in a field, and what Excel makes of it."""
    rows = list(csv.reader(io.StringIO(text)))

    def written(rows, delimiter=","):
        csv.writer(out := io.StringIO(), delimiter=delimiter, lineterminator="\n").writerows(rows)
        return out.getvalue()

    yield "\ufeff" + written(rows, ";")
    yield "\ufeff" + written([[field.replace(".", ",") for field in row] for row in rows], ";")
    yield written([[rows[0][0]] * len(rows[0]), *rows[1:]])
    for column, name in enumerate(rows[0]):
        yield written([row[:column] + row[column + 1:] for row in rows])
        yield text.replace(name, f"{name}x", 1)
        k, junk = draw.randrange(1, len(rows)), draw.choice(JUNK)
        yield written([*rows[:k], [*rows[k][:column], junk, *rows[k][column + 1:]], *rows[k + 1:]])
    for _ in range(4):
        start, end = sorted(draw.choices(range(1, len(rows)), k=2))
        yield written(rows[:start] + rows[end + 1:])
        yield written([rows[0], *rows[start:end + 1]])


def places(content, path=()):
    """The paths of all that stands in a JSON value."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def json_damages(text, draw):
    """Damaged versions of a JSON text: something lost, renamed, or replaced by junk."""
    paths = list(places(json.loads(text)))
    for *path, last in draw.sample(paths, min(len(paths), 40)):
        for change in draw.sample(["another place", None, [], {}, 0, -1, 10**30, float("nan"), "x", True, "\udcff"], 3):
            parent = content = json.loads(text)
            for key in path:
                parent = parent[key]
            if change == "another place":
                value = parent.pop(last)
                parent.update({f"{last}x": value}) if isinstance(parent, dict) else parent.append(value)
            else:
                parent[last] = change
            yield json.dumps(content)


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
    draw, text = random.Random(name), (RESULTS / name).read_text()
    damages = list(json_damages(text, draw) if name.endswith(".json") else table_damages(text, draw))
    contents = [damaged.encode() for damaged in draw.sample(damages, 8)]
    if name in ("lengths.csv", "text.json"):
        contents += [b"", b"\n", b"null", b"[" * 10**5, b"\x89PNG\r\n\x1a\n\0", text.encode("utf-16")]
    contents += [text.encode()[:draw.randrange(len(text))] for _ in range(2)]
    made_of_it, numbers_of_it = ([about for about in abouts if name in about]
                                 for abouts in (tables.TABLES.values(), tables.NUMBERS))
    accepted = []
    for content in contents:
        (tmp_path / name).write_bytes(content)
        try:
            results = good | {name: read_result(tmp_path / name)}
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
        (tmp_path / name).write_bytes(content)
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
    with pytest.raises(InputError, match="text_second.png is there and was not made here"):
        plots.draw(RESULTS, tmp_path, ["text", "text_second"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday.png", "text_second.png"]
    for _ in range(2):
        assert plots.draw(RESULTS, tmp_path, ["text"]) == [tmp_path / "text.png"]
    assert (tmp_path / "holiday.png").read_bytes() == b"another"
