"""Pack what is handed in: report, code, results and texts, as one archive that is checked before it is given out.

    python -m report.submit --lastname Jansen                              # runs/Jansen_assignment2.zip
    python -m report.submit --lastname Jansen --output ~/Desktop --skip_tests

The archive keeps the repository's folders and holds what `FILES` lists, with the course's books that the results were
trained on (from `assets/books/`, by sha256), and nothing else. The same content gives the same bytes. It is unpacked in
a temporary folder, and the test suite is run from there; only then it appears under its name.
"""
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from assets import download
from part1 import cli, run
from report import build

FILES = ("README.md", "requirements.txt",
         "part1/**/*.py", "part2/**/*.py", "part3/**/*.py", "report/**/*.py", "assets/**/*.py",
         "assets/fables.txt", "assets/README.md",
         "report/report.pdf", "report/report.tex", "report/references.bib", "report/author.tex", "report/*.sty",
         "report/results/*.csv", "report/results/*.json", "report/generated/*.tex",
         "report/figures/*.pdf", "report/figures/*.png")
NEEDED = ("README.md", "requirements.txt", "part1/train.py", "part2/train_text.py", "part3/gcn.py", "assets/fables.txt")
GUARD = "ASSIGNMENT2_VERIFYING"  # set while the suite runs from an archive, so that it packs and tests none itself
NAME = re.compile(r"[^\W\d_]+(?:[ '’-][^\W\d_]+)*")


def archive_name(lastname):
    """`NAME_assignment2.zip`; `ValueError` unless `lastname` is made of letters, joined by single - ' or space."""
    if not NAME.fullmatch(lastname) or len(lastname) > 100:
        raise ValueError(f"a last name has letters, with a hyphen, apostrophe or space between them, not {lastname!r}")
    return f"{lastname}_assignment2.zip"


def books(root):
    """The course's books that the results in `root` were trained on, as `download.Book`s."""
    studies = (root / "report" / "results").glob("text*.json")
    names = {run.read_json(path)["settings"]["txt_file"] for path in studies}
    return [download.find(name) for name in sorted(names & set(download.BOOKS_TABLE))]


def collect(root, with_books=True):
    """The archive's content: a dict from names with / to paths. Raises `ValueError` that says what is missing."""
    pdf = root / "report" / "report.pdf"
    if not pdf.exists():
        raise ValueError("report/report.pdf is missing; build it with: python -m report.build")
    if build.mark(pdf) not in (None, build.fingerprint(root / "report", root / "report")):
        raise ValueError("report/report.pdf was not made from these sources, tables and figures; build it again with: "
                         "python -m report.build")
    found = {path.relative_to(root).as_posix(): path for pattern in FILES for path in root.glob(pattern)
             if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)}
    lacking = [name for name in NEEDED if name not in found]
    if lacking:
        raise ValueError(f"{', '.join(lacking)} is missing in {root}")
    folder = root / "assets" / "books"
    for book in books(root) if with_books else []:
        path = download.local(book.file, folder)
        if path is None:
            raise ValueError(f"the results were trained on {book.file}, which is not in assets/books; get it with: "
                             f"python -m assets.download {book.short} (or leave the books out: --without_books)")
        found[path.relative_to(root).as_posix()] = path
    return found


def pack(content):
    """The bytes of a zip archive of `content`, a dict from names to paths: sorted, stored, without dates of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a plain file of Unix, wherever it is packed
            archive.writestr(entry, content[name].read_bytes())
    return buffer.getvalue()


def verify(archive, content, run_tests=True):
    """Unpack the bytes `archive` in a temporary folder, compare with `content`, and run the test suite from there.

    Raises `cli.RunFailed` when a file differs or a test fails.
    """
    with tempfile.TemporaryDirectory(prefix="assignment2-") as folder:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            packed.extractall(folder)
        unpacked = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}
        if unpacked != set(content) or any((Path(folder) / name).read_bytes() != path.read_bytes()
                                           for name, path in content.items()):
            raise cli.RunFailed("the archive does not hold what was packed: did a file change meanwhile?")
        if not run_tests or os.environ.get(GUARD):
            return
        environment = {**os.environ, GUARD: "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=folder, text=True,
                              errors="replace", env=environment, stdin=subprocess.DEVNULL, capture_output=True)
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
        if done.returncode:
            print("\n".join(lines[-40:]), file=sys.stderr)
            raise cli.RunFailed(f"the tests do not pass from the archive, so it was not written: {lines[-1]}")
        print(f"the tests pass from the archive: {lines[-1].strip('= ')}")


def submit(lastname, output, root=cli.ROOT, run_tests=True, with_books=True):
    """Write the archive into the folder `output`; returns its path.

    Raises `ValueError` before anything is written, `cli.RunFailed` when the archive does not pass; none is left then.
    """
    path = output / archive_name(lastname)
    if path.exists():
        raise ValueError(f"{run.shorter(path)} exists already; remove it or choose another --output")
    content = collect(root, with_books)
    archive = pack(content)
    verify(archive, content, run_tests)
    output.mkdir(parents=True, exist_ok=True)
    run.write_atomically(path, archive)
    return path


def parse_args(argv=None):
    """Parse the flags of `python -m report.submit`."""
    parser = cli.Parser("report.submit", "Pack report, code, results and texts into NAME_assignment2.zip, checked.")
    parser.add_argument("--lastname", required=True, metavar="NAME", help="your last name")
    parser.add_argument("--output", type=cli.path, default=cli.ROOT / "runs", metavar="FOLDER", help="where it goes")
    parser.add_argument("--skip_tests", action="store_true", help="do not run the test suite from the archive")
    parser.add_argument("--without_books", action="store_true",
                        help="leave out the books that the results were trained on")
    return parser.parse(argv)


def main(config):
    if not config.skip_tests:
        print("packing, and running the tests from the archive: some minutes", flush=True)
    path = submit(config.lastname, config.output, cli.ROOT, not config.skip_tests, not config.without_books)
    with zipfile.ZipFile(path) as archive:
        count = len(archive.namelist())
    if config.without_books:
        left_out = ", ".join(book.file for book in books(cli.ROOT))
        print(f"left out: {left_out}" if left_out else "no books were left out: the results were trained on none")
    print(f"{run.shorter(path)}: {count} files, {path.stat().st_size / 1e6:.1f} MB, "
          f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
