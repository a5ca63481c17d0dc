"""Build the report's PDF with LaTeX from report.tex, the generated tables and the figures.

    python -m report.build                                                 # report/report.pdf, from committed results
    python -m report.build --content runs/quick --quick                    # runs/quick/report.pdf

Draws no figure and trains nothing: figures and results are those in `--content`; tables are written first. LaTeX runs
in a scratch folder, so that nothing but the PDF is left. The PDF carries in its metadata a SHA-256 of all it was made
from, and no dates; one that carries the right one already is kept (another LaTeX writes other bytes). A NeurIPS style
file (`neurips_20XX.sty`, `nips_20XX.sty`) or an `author.tex` with your name, laid beside report.tex, is used.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, run
from report import tables

REPORT = cli.ROOT / "report"
SOURCES = ("report.tex", "references.bib", "author.tex", "neurips_*.sty", "nips_*.sty")
CONTENT = ("generated/*.tex", "figures/*.pdf")
INSTALL = "apt-get install latexmk texlive-latex-recommended texlive-fonts-recommended"
MISSING = f"LaTeX is not installed, so the PDF was not built; to get it: {INSTALL}"
COMMAND = ("latexmk", "-norc", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "report.tex")
# One line of the log a message, no dates in the PDF, and the same file name inside whatever the user has configured.
ENVIRONMENT = {"max_print_line": "1000", "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "TZ": "UTC"}
OVERFULL = 5.0  # points that a line or page may stick out


@dataclass
class Document:
    """A built PDF: its path, number of pages, and what LaTeX and BibTeX complained of, one line each."""

    path: Path
    pages: int
    problems: list


def available():
    """Whether LaTeX is here."""
    return bool(shutil.which("latexmk") and shutil.which("pdflatex"))


def parts(content, sources=REPORT):
    """What the PDF is made of: pairs of the name in LaTeX's folder and the file, sorted by name."""
    found = [(path.name, path) for pattern in SOURCES for path in sources.glob(pattern)]
    found += [(f"{path.parent.name}/{path.name}", path) for pattern in CONTENT for path in content.glob(pattern)]
    return sorted(found)


def fingerprint(content, sources=REPORT):
    """SHA-256 (hex) over names and contents of all `parts`."""
    digest = hashlib.sha256()
    for name, path in parts(content, sources):
        data = path.read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def mark(pdf):
    """The fingerprint that a PDF of ours carries, or None."""
    found = re.search(rb"/Keywords ?\(sha256:([0-9a-f]{64})\)", pdf.read_bytes())
    return found[1].decode() if found else None


def problems(log, bibliography=""):
    """What is wrong in LaTeX's log and BibTeX's: references, missing files and characters, boxes that stick out."""
    found = re.findall(r"^(?:LaTeX|Package \w+) Warning: .*(?:undefined|multiply|not found|may have changed).*$"
                       r"|^Missing character: .*$|^! .*$|^.*(?:No file|File .* not found).*$", log, re.MULTILINE)
    found += [line for line, points in re.findall(r"^(Overfull \\[hv]box \(([0-9.]+)pt too (?:wide|high)\).*)$", log,
                                                  re.MULTILINE) if float(points) > OVERFULL]
    found += re.findall(r"^Warning--.*$|^I (?:couldn't|didn't) .*$", bibliography, re.MULTILINE)
    return [line.strip() for line in dict.fromkeys(found) if not re.match(r"No file report\.(?:aux|bbl|out)", line)]


def build(content, pdf, sources=REPORT):
    """Compile the report with the tables and figures in the folder `content` into the file `pdf`.

    Returns a `Document`; raises `cli.RunFailed` with LaTeX's first error when there is no PDF. Needs `available`.
    """
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        folder = Path(folder)
        for name, path in parts(content, sources):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)
        (folder / "fingerprint.tex").write_text(f"\\def\\Fingerprint{{sha256:{fingerprint(content, sources)}}}\n")
        try:
            done = subprocess.run(COMMAND, cwd=folder, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, errors="replace", timeout=300)
        except subprocess.TimeoutExpired:
            raise cli.RunFailed("LaTeX did not end within five minutes") from None
        log, bibliography = (path.read_text(errors="replace") if path.exists() else ""
                             for path in (folder / "report.log", folder / "report.blg"))
        found = problems(log, bibliography)
        if done.returncode or not (folder / "report.pdf").exists():
            errors = [line for line in found if line.startswith("!")]
            hint = f"; is a package missing? {INSTALL}" if "not found" in "".join(errors) else ""
            raise cli.RunFailed(f"LaTeX failed: {(errors or found or done.stdout.splitlines()[-1:] or ['?'])[0]}{hint}")
        pages = re.search(r"Output written on report\.pdf \((\d+) pages?", log)
        run.write_atomically(pdf, (folder / "report.pdf").read_bytes())
    return Document(pdf, int(pages[1]) if pages else 0, found)


def update(content, pdf, quick=False):
    """Write the tables of `content` and build its PDF where needed; returns a line that says what happened."""
    tables.write_all(content / "results", content / "generated", quick)
    if pdf.exists() and mark(pdf) == fingerprint(content):
        return f"{run.shorter(pdf)} (up to date)"
    if not available():
        return MISSING + (f" ({run.shorter(pdf)} is kept, but it is not of these results)" if pdf.exists() else "")
    document = build(content, pdf)
    for line in document.problems:
        print(f"LaTeX: {line}", file=sys.stderr)
    return f"{run.shorter(pdf)} ({document.pages} pages)"


def parse_args(argv=None):
    """Parse the flags of `python -m report.build`."""
    parser = cli.Parser("report.build", "Write the tables and build the PDF from committed results and figures.")
    parser.add_argument("--content", type=Path, default=REPORT, help="folder of results/, figures/ and the PDF")
    parser.add_argument("--quick", action="store_true", help="say in the PDF that it shows the quick preset's studies")
    return parser.parse(argv)


def main(config):
    print(update(config.content, config.content / "report.pdf", config.quick))


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
