"""The PDF: compiles without complaints, has a heading for every question, and carries the mark of its parts."""
import re
import shutil

import pytest
from pypdf import PdfReader

from part1 import cli
from report import build, plots, style, tables
from report.tests.conftest import make_results

PDF = build.REPORT / "report.pdf"
needs_latex = pytest.mark.skipif(not build.available(), reason=f"LaTeX is not installed ({build.INSTALL})")
committed = pytest.mark.skipif(not PDF.exists(), reason="there is no report/report.pdf yet")
HEADINGS = [  # the handbook's table, row by row: 2019, 2020
    "Question 1.1 (2019); Question 1.1 a, b, c (2020)", "Question 1.2 (2019)", "Question 1.3 (2019)",
    "Question 1.4 (2019)", "Question 1.5 (2019); Question 1.2 a, b (2020)", "Question 1.6 (2019); Question 1.3 (2020)",
    "Question 1.4 (2020)",
    "Question 1.7 (2019)", "Question 2.1 (2019); Question 2.1 a, b, c (2020)", "Question 2.2, bonus (2019 and 2020)",
    "Question 2.3, bonus (2019)", "Question 3.1 a, b (2019 and 2020)", "Question 3.2 a, b (2019 and 2020)",
    "Question 3.3 (2020)", "Question 3.3 (2019); Question 3.4 (2020)",
    "Question 3.4 a, b (2019); Question 3.5 a, b (2020)"]
# Each answer has its letters, in order, under the heading.
LETTERS = {"Question 1.1 (2019)": "abc", "Question 1.5 (2019)": "ab", "Question 2.1 (2019)": "abc",
           "Question 3.1 a": "ab", "Question 3.2 a": "ab", "Question 3.4 a": "ab"}


def text_of(pdf):
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in PdfReader(pdf).pages))


def check_headings(pdf):
    text = text_of(pdf)
    places = [text.find(heading + ":") for heading in HEADINGS]
    assert -1 not in places, f"no heading {HEADINGS[places.index(-1)]}"
    assert places == sorted(places)
    for heading, letters in LETTERS.items():
        start = text.index(heading)
        after = text[start:start + 20_000]
        found = [after.find(f" {letter}. ") for letter in letters]
        assert -1 not in found and found == sorted(found), heading


@committed
def test_the_committed_pdf_answers_every_question_on_at_most_twelve_pages():
    check_headings(PDF)
    assert len(PdfReader(PDF).pages) <= 12
    assert "Quick preset" not in text_of(PDF)


@committed
def test_the_committed_pdf_is_made_of_the_committed_sources_tables_and_figures():
    assert build.mark(PDF) == build.fingerprint(build.REPORT), "report.pdf is out of date: python -m report.build"
    assert PdfReader(PDF).metadata["/Keywords"] == f"sha256:{build.mark(PDF)}"


@pytest.mark.skipif(not (build.REPORT / "figures").exists(), reason="no figures in report/figures yet")
def test_committed_figures_are_drawn_from_the_committed_results():
    found = {path.stem for path in (build.REPORT / "figures").glob("*.pdf")}
    assert found == {name for name in plots.FIGURES if plots.sources_of(name, build.REPORT / "results")}
    for name in found:
        mark = f"sha256:{style.fingerprint(plots.sources_of(name, build.REPORT / 'results'))}"
        assert PdfReader(build.REPORT / "figures" / f"{name}.pdf").metadata["/Keywords"] == mark, \
            f"{name} is out of date: python -m report.plots"
        assert mark.encode() in (build.REPORT / "figures" / f"{name}.png").read_bytes()


@needs_latex
@committed
def test_the_committed_sources_compile_without_complaints(tmp_path):
    document = build.build(build.REPORT, tmp_path / "report.pdf")
    assert document.problems == [] and document.pages <= 12


@needs_latex
def test_all_kinds_of_results_compile_without_complaints(made_up, tmp_path):
    document = build.build(made_up, tmp_path / "report.pdf")
    assert document.problems == []
    check_headings(document.path)
    assert build.mark(document.path) == build.fingerprint(made_up)
    reader = PdfReader(document.path)
    assert document.pages == len(reader.pages)
    assert all("1970" in value for name, value in reader.metadata.items() if name.endswith("Date"))


@needs_latex
def test_the_least_results_compile_as_a_quick_report_in_the_official_style(made_up, tmp_path):
    make_results(tmp_path / "results", optional=False)
    (tmp_path / "figures").mkdir()
    for name in ("lengths", "gradients", "text", "graphs"):
        shutil.copyfile(made_up / "figures" / f"{name}.pdf", tmp_path / "figures" / f"{name}.pdf")
    tables.write_all(tmp_path / "results", tmp_path / "generated", quick=True)
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("report.tex", "references.bib"):
        shutil.copyfile(build.REPORT / name, sources / name)
    # Not the real file, but what it does to a document that matters here.
    (sources / "neurips_2020.sty").write_text(
        "\\ProvidesPackage{neurips_2020}\n\\DeclareOption*{}\\ProcessOptions\\RequirePackage{natbib}\n"
        "\\RequirePackage[textwidth=5.5in,textheight=9in,top=1in]{geometry}\n\\AtEndDocument{In the official style.}\n")
    (sources / "author.tex").write_text("Ada Lovelace")
    document = build.build(tmp_path, tmp_path / "report.pdf", sources)
    assert document.problems == []
    check_headings(document.path)
    text = text_of(document.path)
    assert "Quick preset" in text and "In the official style." in text and "Ada Lovelace" in text
    assert build.fingerprint(tmp_path, sources) == build.mark(document.path) != build.fingerprint(tmp_path)


@needs_latex
def test_an_error_of_latex_is_one_line(made_up, tmp_path):
    (tmp_path / "report.tex").write_text("\\documentclass{article}\\usepackage{no-such-package}\n"
                                         "\\begin{document}x\\end{document}")
    with pytest.raises(cli.RunFailed, match=r"no-such-package\.sty' not found.*apt-get install"):
        build.build(made_up, tmp_path / "report.pdf", tmp_path)
    assert not (tmp_path / "report.pdf").exists()


def test_complaints_are_found_in_the_log():
    log = "\n".join(["LaTeX Warning: Reference `fig:x' on page 1 undefined on input line 3.",
                     "Missing character: There is no é",
                     "Package natbib Warning: Citation `kipf' on page 1 undefined on input line 4.",
                     "Overfull \\hbox (5.1pt too wide) in paragraph at lines 1--2",
                     "Overfull \\hbox (4.9pt too wide) in paragraph at lines 3--4", "No file report.aux.",
                     "LaTeX Warning: Label `a' multiply defined.", "Overfull \\vbox (9.0pt too high) has occurred",
                     "! LaTeX Error: File `figures/x.pdf' not found.", "This is fine."])
    found = build.problems(log, "Warning--I didn't find a database entry for \"x\"\nnothing")
    assert len(found) == 8 and not any("4.9pt" in line or "aux" in line for line in found)


def test_without_latex_one_line_says_what_to_install_and_the_pdf_stays(made_up, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "report"
    shutil.copytree(made_up, folder)
    line = build.update(folder, folder / "report.pdf")
    assert "apt-get install latexmk" in line and "\n" not in line and not (folder / "report.pdf").exists()
    (folder / "report.pdf").write_bytes(b"an older one")
    assert "is kept" in build.update(folder, folder / "report.pdf")
    assert (folder / "report.pdf").read_bytes() == b"an older one"


def test_a_pdf_of_the_same_parts_is_kept_as_it_is(made_up, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    pdf = tmp_path / "report.pdf"
    pdf.write_bytes(b"%PDF /Keywords (sha256:" + build.fingerprint(made_up).encode() + b")")
    assert "up to date" in build.update(made_up, pdf)
    (tmp_path / "plain.pdf").write_bytes(b"%PDF")
    assert build.mark(tmp_path / "plain.pdf") is None


def test_the_fingerprint_counts_names_and_contents(made_up, tmp_path):
    folder = tmp_path / "report"
    shutil.copytree(made_up, folder)
    first = build.fingerprint(folder)
    assert first == build.fingerprint(made_up)
    (folder / "figures" / "lengths.png").write_bytes(b"PNGs are not in the PDF")
    assert build.fingerprint(folder) == first
    (folder / "figures" / "lengths.pdf").rename(folder / "figures" / "lenghts.pdf")
    assert build.fingerprint(folder) != first


def test_script_without_results_is_one_line(call, tmp_path):
    (tmp_path / "results").mkdir()
    status, out, err = call(build, "--content", tmp_path)
    assert (status, out) == (2, "") and err.count("\n") == 1 and "lacks lengths.csv" in err
