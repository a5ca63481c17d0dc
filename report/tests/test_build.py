"""The PDF: compiles without complaints, has a heading for every question, and carries the mark of its parts."""
import functools
import re
import shutil

import pytest
from pypdf import PdfReader

from part1 import cli, style
from report import build, plots

PDF = build.REPORT / "report.pdf"
needs_latex = pytest.mark.skipif(bool(build.missing()), reason=f"LaTeX is not installed ({build.INSTALL})")
HEADINGS = [  # the handbook's table, row by row: 2019, 2020
    "Question 1.1 (2019); Question 1.1 a, b, c (2020)", "Question 1.2 (2019)", "Question 1.3 (2019)",
    "Question 1.4 (2019)", "Question 1.5 (2019); Question 1.2 a, b (2020)", "Question 1.6 (2019); Question 1.3 (2020)",
    "Question 1.4 (2020)",
    "Question 1.7 (2019)", "Question 2.1 (2019); Question 2.1 a, b, c (2020)", "Question 2.2, bonus (2019 and 2020)",
    "Question 2.3, bonus (2019)", "Question 3.1 a, b (2019 and 2020)", "Question 3.2 a, b (2019 and 2020)",
    "Question 3.3 (2020)", "Question 3.3 (2019); Question 3.4 (2020)",
    "Question 3.4 a, b (2019); Question 3.5 a, b (2020)"]


@functools.cache
def pages_of(pdf):
    return [page.extract_text() for page in PdfReader(pdf).pages]


def text_of(pdf):
    return re.sub(r"\s+", " ", " ".join(pages_of(pdf)))


def pages_before_the_appendix(pdf):
    return ["Appendix A." in page for page in pages_of(pdf)].index(True)


def test_the_committed_pdf_answers_every_question_on_at_most_twelve_pages():
    text = text_of(PDF)
    places = [text.find(heading + ":") for heading in HEADINGS]
    assert -1 not in places, f"no heading {HEADINGS[places.index(-1)]}"
    assert places == sorted(places)
    for heading, start, end in zip(HEADINGS, places, [*places[1:], len(text)]):
        letters = sorted(set(re.findall(r"(?<= )[abc](?=,| \()", heading)))  # each has an answer, in order
        assert re.search(".*".join(rf" {letter}\. " for letter in letters), text[start:end]), heading
    assert pages_before_the_appendix(PDF) <= 12


def test_the_committed_pdf_is_made_of_the_committed_sources_tables_and_figures():
    assert build.mark(PDF) == build.fingerprint(build.REPORT), "report.pdf is out of date: python -m report.build"
    assert PdfReader(PDF).metadata["/Keywords"] == f"sha256:{build.mark(PDF)}"


def test_committed_figures_are_drawn_from_the_committed_results():
    figures = build.REPORT / "figures"
    assert {path.stem for path in figures.glob("*.pdf")} == set(plots.FIGURES)
    for name in plots.FIGURES:
        mark = f"sha256:{style.fingerprint(plots.sources_of(name, build.REPORT / 'results'))}"
        assert PdfReader(figures / f"{name}.pdf").metadata["/Keywords"] == mark, f"{name}: python -m report.plots"
        assert mark.encode() in (figures / f"{name}.png").read_bytes()


@needs_latex
def test_the_sources_compile_without_complaints_also_in_the_official_style(tmp_path, capsys):
    for name in ("results", "generated", "figures"):
        shutil.copytree(build.REPORT / name, tmp_path / name)
    said = build.update(tmp_path, tmp_path / "report.pdf")
    document = PdfReader(tmp_path / "report.pdf")
    assert capsys.readouterr().err == "" and f"({len(document.pages)} pages)" in said
    assert "up to date" in build.update(tmp_path, tmp_path / "report.pdf")
    assert pages_before_the_appendix(tmp_path / "report.pdf") <= 12
    assert all("1970" in value for name, value in document.metadata.items() if name.endswith("Date"))
    sources = tmp_path / "sources"
    sources.mkdir()
    preamble = (build.REPORT / "report.tex").read_text().split("\\begin{document}")[0]
    (sources / "report.tex").write_text(preamble + "\\begin{document}\\maketitle\\end{document}")
    # Not the real file, but what it does to a document that matters here.
    (sources / "neurips_2020.sty").write_text(
        "\\ProvidesPackage{neurips_2020}\n\\DeclareOption*{}\\ProcessOptions\\RequirePackage{natbib}\n"
        "\\RequirePackage[textwidth=5.5in,textheight=9in,top=1in]{geometry}\n\\AtEndDocument{In the official style.}\n")
    (sources / "author.tex").write_text("Ada Lovelace")
    assert build.build(build.REPORT, tmp_path / "official.pdf", sources)[1] == []
    text = text_of(tmp_path / "official.pdf")
    assert "In the official style." in text and "Ada Lovelace" in text
    assert build.mark(tmp_path / "official.pdf") == build.fingerprint(build.REPORT, sources)


@needs_latex
def test_an_error_of_latex_is_one_line(tmp_path):
    (tmp_path / "report.tex").write_text("\\documentclass{article}\\usepackage{no-such-package}\n"
                                         "\\begin{document}x\\end{document}")
    with pytest.raises(cli.RunFailed, match=r"no-such-package\.sty' not found.*apt-get install"):
        build.build(build.REPORT, tmp_path / "report.pdf", tmp_path)
    assert not (tmp_path / "report.pdf").exists()


def test_complaints_are_found_in_the_log():
    log = "\n".join(["LaTeX Warning: Reference `fig:x' on page 1 undefined on input line 3.",
                     "Missing character: There is no é",
                     "Package natbib Warning: Citation `kipf' on page 1 undefined on input line 4.",
                     "Overfull \\hbox (5.1pt too wide) in paragraph at lines 1--2",
                     "Overfull \\hbox (4.9pt too wide) in paragraph at lines 3--4", "No file report.aux.",
                     "LaTeX Warning: Label `a' multiply defined.", "Overfull \\vbox (9.0pt too high) has occurred",
                     "! LaTeX Error: File `figures/x.pdf' not found.", "This is fine."])
    lines = build.PROBLEM.findall(log + "\nWarning--I didn't find a database entry for \"x\"\nnothing")
    assert len(lines) == 8 and not any("4.9pt" in line or "aux" in line for line in lines)


def test_what_becomes_of_a_pdf_without_latex(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build.tables, "write_all", lambda results, generated: None)  # is tested by itself
    for name in ("results", "generated", "figures"):
        shutil.copytree(build.REPORT / name, tmp_path / name)
    pdf = tmp_path / "report.pdf"
    assert "LaTeX is not installed" in build.update(tmp_path, pdf) and not pdf.exists()
    (tmp_path / "pdflatex").touch(0o755)
    assert "pdflatex is here, but not latexmk" in build.update(tmp_path, pdf) and not pdf.exists()
    ours = b"%%PDF /Keywords (sha256:%b)"
    for content, answer in ((b"%PDF of the user's own", "was not made here"), (ours % (b"0" * 64), "not of these"),
                            (ours % build.fingerprint(tmp_path).encode(), "up to date")):
        pdf.write_bytes(content)
        assert answer in build.update(tmp_path, pdf) and pdf.read_bytes() == content
    (tmp_path / "figures" / "horizon.pdf").rename(tmp_path / "figures" / "horizons.pdf")
    assert "not of these" in build.update(tmp_path, pdf)  # names count, not only contents
