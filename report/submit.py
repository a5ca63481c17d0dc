"""Pack what is handed in: report, code, results and texts, as one archive whose tests pass.

    python -m report.submit --lastname Jansen                              # runs/Jansen_assignment2.zip
    python -m report.submit --lastname "van 't Hoff" --output ~/Desktop --skip_tests

The archive keeps the repository's folders and holds what `FILES` lists, with the course's books that the results were
trained on (from `assets/books/`, by sha256), and nothing else. The same content gives the same bytes. It is unpacked in
a temporary folder, and the test suite is run from there; only then does it get its name.
"""
import io
import re
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from assets import download
from part1 import cli, files
from part1.cli import InputError
from report import build
from report.results import read_result

ROOMS = ("part1", "part2", "part3", "assets", "report")
FILES = ("README.md", "requirements.txt", "assets/fables.txt", "assets/README.md",
         *(f"{room}/**/*.{kind}" for room in ROOMS for kind in ("py", "sbatch", "css")),
         "report/report.pdf", "report/report.tex", "report/references.bib", "report/author.tex", "report/*.sty",
         "report/results/*.csv", "report/results/*.json", "report/generated/*.tex",
         "report/figures/*.pdf", "report/figures/*.png")
NAME = re.compile(r"['‘’`´]?L[LM'‘’`´‐‑·. -]*")  # L for a letter, M for a mark on it


def archive_name(lastname):
    """`NAME_assignment2.zip` with the name in Unicode's composed form; `InputError` for what is no last name."""
    name = " ".join(unicodedata.normalize("NFC", lastname).split())
    kinds = (unicodedata.category(character)[0] for character in name)
    form = "".join(kind if kind in "LM" else character for kind, character in zip(kinds, name))
    if not NAME.fullmatch(form) or len(name.encode()) > 200:
        raise InputError("a last name has letters, and may have hyphens, apostrophes, dots and spaces, not "
                         f"{lastname!r}")
    return f"{name}_assignment2.zip"


def collect(root, with_books=True):
    """The archive's content: a dict from names with / to paths. Raises `InputError` that says what is missing."""
    report = root / "report"
    if not (report / "report.pdf").exists():
        raise InputError("report/report.pdf is missing; build it with: python -m report.build")
    if build.mark(report / "report.pdf") not in (None, build.fingerprint(report, report)):
        raise InputError("report/report.pdf was not made from these sources, tables and figures; build it again with: "
                         "python -m report.build")
    content = {path.relative_to(root).as_posix(): path for pattern in FILES for path in root.glob(pattern)
               if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)}
    texts = {read_result(path)["settings"]["txt_file"] for path in root.glob("report/results/text*.json")}
    for name in texts & set(download.BOOKS_TABLE) if with_books else ():
        if not (path := download.local(name, root / "assets" / "books")):
            raise InputError(f"the results were trained on {name}, which is not in assets/books; get it with: "
                             f"python -m assets.download {name} (or leave the books out: --without_books)")
        content[path.relative_to(root).as_posix()] = path
    return content


def pack(content):
    """The bytes of a zip archive of `content`, a dict from names to paths: sorted, stored, without dates of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a plain file of Unix, wherever it is packed
            archive.writestr(entry, content[name].read_bytes())
    return buffer.getvalue()


def verify(archive):
    """Unpack the bytes `archive` in a temporary folder and run the test suite there; `cli.RunFailed` if it fails."""
    with tempfile.TemporaryDirectory(prefix="assignment2-") as folder:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            packed.extractall(folder)
        done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=folder, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = done.stdout.strip().splitlines() or ["no output"]
    if done.returncode:
        print("\n".join(lines[-40:]), file=sys.stderr)
        raise cli.RunFailed(f"the tests do not pass from the archive, so it was not written: {lines[-1]}")
    print(f"the tests pass from the archive: {lines[-1].strip('= ')}")


def submit(lastname, output, root=files.ROOT, run_tests=True, with_books=True):
    """Write the archive into the folder `output`; returns its path. `cli.RunFailed` when its tests do not pass."""
    path = output / archive_name(lastname)
    if path.exists():
        raise InputError(f"{files.display(path)} exists already; remove it or choose another --output")
    content = collect(root, with_books)
    output.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=output).close()  # that it can be written to shows before the tests, which take minutes
    archive = pack(content)
    if run_tests:
        verify(archive)
    files.write_atomically(path, archive)
    return path


def parse_args(argv=None):
    parser = cli.Parser("report.submit", "Pack report, code, results and texts into NAME_assignment2.zip, checked.")
    add = parser.add_argument
    add("--lastname", required=True, metavar="NAME", help="your last name")
    add("--output", type=cli.path, default=files.ROOT / "runs", metavar="FOLDER", help="where it goes")
    add("--skip_tests", action="store_true", help="do not run the test suite from the archive")
    add("--without_books", action="store_true", help="leave out the books that the results were trained on")
    return parser.parse_args(argv)


def main(config):
    if not config.skip_tests:
        print("packing, and running the tests from the archive: some minutes", flush=True)
    path = submit(config.lastname, config.output, files.ROOT, not config.skip_tests, not config.without_books)
    print(f"{files.display(path)}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
