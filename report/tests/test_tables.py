"""Numbers and tables of the report: of the committed results, used one and all; text typeset safely."""
import re
import shutil
import subprocess

import pytest
from pypdf import PdfReader

from part1.cli import InputError
from report import build, latex, tables
from report.tests.conftest import NASTY

TEXT = (build.REPORT / "report.tex").read_text()
RESULTS, GENERATED = build.REPORT / "results", build.REPORT / "generated"
needs_latex = pytest.mark.skipif(bool(build.missing()), reason=f"LaTeX is not installed ({build.INSTALL})")


def test_committed_tables_are_those_of_the_committed_results():
    contents = tables.generate(tables.load(RESULTS))
    assert sorted(contents) == sorted(path.name for path in GENERATED.glob("*"))
    for name, content in contents.items():
        assert (GENERATED / name).read_text() == content, f"{name} is out of date: python -m report.build"


def test_every_number_and_table_is_used():
    keys = re.findall(r"\\setval\{([^}]+)\}", (GENERATED / "numbers.tex").read_text())
    assert sorted(keys) == sorted(set(re.findall(r"\\val\{([^}#]+)\}", TEXT)) - {"key"})
    assert set(re.findall(r"\\input\{generated/(\w+)\}", TEXT)) == {path.stem for path in GENERATED.glob("*.tex")}


def test_writing_tables_touches_no_other_file_and_a_missing_or_damaged_result_is_one_line(call, tmp_path):
    results, generated = tmp_path / "results", tmp_path / "generated"
    shutil.copytree(RESULTS, results)
    generated.mkdir()
    (generated / "thesis.tex").write_text("mine")
    tables.write_all(results, generated)
    assert (generated / "thesis.tex").read_text() == "mine"
    (generated / "inside.tex").write_text("mine")
    with pytest.raises(InputError, match="inside.tex exists but was not made here"):
        tables.write_all(results, generated)
    assert (generated / "inside.tex").read_text() == "mine"
    damaged = results / "lengths.csv"
    for spoil, message in ((lambda: damaged.write_bytes(damaged.read_bytes()[:2000]), "lengths.csv has"),
                           (damaged.unlink, "lacks lengths.csv")):
        spoil()
        status, out, err = call(build, "--content", tmp_path)
        assert (status, out) == (2, "") and err.count("\n") == 1 and message in err


@needs_latex
def test_every_character_of_a_sample_is_on_the_page(tmp_path):
    preamble = TEXT.split("\\input{generated/numbers}")[0]
    (tmp_path / "report.tex").write_text(preamble + "\\begin{document}\n" + latex.samples([("x", [NASTY])])
                                       + "\\end{document}\n")
    subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"], cwd=tmp_path, check=True,
                   capture_output=True)
    assert build.PROBLEM.findall((tmp_path / "report.log").read_text()) == []
    page = re.sub(r"\s", "", PdfReader(tmp_path / "report.pdf").pages[0].extract_text())
    expected = NASTY.replace("…", "...").replace("\n", "¶").replace("Ω", "[U+03A9]").replace("\t", "[U+0009]")
    assert re.sub(r"\s", "", expected) in page


def test_text_becomes_plain_ascii_without_ligatures_or_lost_spaces():
    assert latex.escape("a_b & 50%\n") == r"a\_b \& 50\%\lineend{}"
    assert latex.escape("--,, ‘x’") == r"-{}-{},{},{} \textquoteleft{}x\textquoteright{}"
    assert latex.escape("a  b") == r"a \ b" and latex.escape(" a ") == r"\ a\ "
    assert latex.escape(NASTY).isascii() and "\n" not in latex.escape(NASTY)


def test_numbers_are_written_as_people_write_them():
    assert [latex.number(x) for x in (7, 2000, 10_000, 0.125)] == ["7", "2000", r"10\,000", "0.12"]
    assert latex.number(-55.66, 1) == r"\ensuremath{-55.7}"
    assert latex.spread([1.0, 0.5]) == r"\ensuremath{0.750 \pm 0.354}" and latex.spread([0.5]) == "0.500"


def test_a_mean_has_its_standard_error():
    assert tables.with_error([{"p": 1.0}, {"p": 3.0}], "p") == r"\ensuremath{2.00 \pm 1.00}"
    assert tables.with_error([{"p": 2.0}, {"p": 2.0}], "p") == "2.00"


def test_a_length_is_solved_by_four_seeds_of_five():
    rows = [{"accuracy": accuracy} for accuracy in (1.0, 0.99, 0.995, 1.0, 0.3)]
    assert tables.solved(rows) and not tables.solved(rows[1:])
