"""Build the report's PDF with LaTeX from report.tex, the generated tables and the figures.

    python -m report.build                                                 # report/report.pdf, from committed results

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
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, files
from report import tables

REPORT = files.ROOT / "report"
SOURCES = ("report.tex", "references.bib", "author.tex", "neurips_*.sty", "nips_*.sty")
CONTENT = ("generated/*.tex", "figures/*.pdf")
INSTALL = "apt-get install latexmk texlive-latex-recommended texlive-fonts-recommended lmodern"
COMMAND = ("latexmk", "-norc", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "report.tex")
# One line of the log per message, no dates in the PDF, and the same file name inside whatever the user has configured.
ENVIRONMENT = {"max_print_line": "1000", "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "TZ": "UTC"}
PROBLEM = re.compile(  # lines of LaTeX's log and BibTeX's that somebody should read: boxes from 5 points on
    r"^(?:(?:LaTeX|Package \w+) Warning: .*(?:undefined|multiply|not found|may have changed)|Missing character|! "
    r"|Overfull \\[hv]box \((?:[5-9]|\d\d+)\.|.*No file (?!report\.)|.*File .* not found"
    r"|Warning--|I (?:couldn't|didn't) ).*$", re.MULTILINE)


def missing():
    """Which part of LaTeX is missing, as text; '' if none."""
    if not shutil.which("pdflatex"):
        return "LaTeX is not installed"
    return "" if shutil.which("latexmk") else "pdflatex is here, but not latexmk, which runs it"


def parts(content, sources=REPORT):
    """What the PDF is made of: pairs of the name in LaTeX's folder and the file, sorted by name."""
    return sorted((path.relative_to(folder).as_posix(), path)
                  for folder, patterns in ((sources, SOURCES), (content, CONTENT))
                  for pattern in patterns for path in folder.glob(pattern))


def fingerprint(content, sources=REPORT):
    """SHA-256 (hex) over names and contents of all `parts`."""
    digest = hashlib.sha256()
    for name, path in parts(content, sources):
        data = path.read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def mark(pdf):
    """The fingerprint that a PDF of ours carries, or None."""
    match = re.search(rb"/Keywords ?\(sha256:([0-9a-f]{64})\)", pdf.read_bytes())
    return match[1].decode() if match else None


def build(content, pdf, sources=REPORT):
    """Compile the report with the tables and figures in the folder `content` into the file `pdf`: returns its number of
    pages and LaTeX's complaints, a list of lines. Raises `cli.RunFailed` with LaTeX's first error."""
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        folder = Path(folder)
        for name, path in parts(content, sources):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)
        (folder / "fingerprint.tex").write_text(f"\\def\\Fingerprint{{sha256:{fingerprint(content, sources)}}}\n")
        done = subprocess.run(COMMAND, cwd=folder, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace")
        log = "\n".join(path.read_text(errors="replace") for path in folder.glob("report.[bl][lo]g"))
        complaints = list(dict.fromkeys(PROBLEM.findall(log)))
        if done.returncode:
            first = next((line for line in complaints if line.startswith("!")), done.stdout.strip().rpartition("\n")[2])
            hint = f"; is a package missing? {INSTALL}" if "not found" in first else ""
            raise cli.RunFailed(f"LaTeX failed: {first}{hint}")
        files.write_atomically(pdf, (folder / "report.pdf").read_bytes())
    return int(re.search(r"Output written on report\.pdf \((\d+) pages?", log)[1]), complaints


def update(content, pdf):
    """Write the tables of `content`, and build its PDF where needed; returns a line that says what happened."""
    tables.write_all(content / "results", content / "generated")
    carried = mark(pdf) if pdf.exists() else "no PDF yet"
    if carried == fingerprint(content):
        return f"{files.display(pdf)} (up to date)"
    if carried is None:
        return f"{files.display(pdf)} was not made here, so it is kept; remove it to have it built"
    if missing():
        kept = f" ({files.display(pdf)} is kept, but it is not of these results)" if pdf.exists() else ""
        return f"{missing()}, so the PDF was not built; to get it: {INSTALL}{kept}"
    pages, complaints = build(content, pdf)
    for line in complaints:
        print(f"LaTeX: {line}", file=sys.stderr)
    return f"{files.display(pdf)} ({pages} pages)"


def parse_args(argv=None):
    parser = cli.Parser("report.build", "Write the tables and build the PDF from committed results and figures.")
    parser.add_argument("--content", type=cli.path, default=REPORT, help="folder of results/, figures/ and the PDF")
    return parser.parse_args(argv)


def main(config):
    print(update(config.content, config.content / "report.pdf"))


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
