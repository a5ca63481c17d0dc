"""The archive: its exact content, the same bytes for the same content, its check, and its errors."""
import hashlib
import os
import zipfile

import pytest

from assets import download
from part1 import cli, files
from report import build, submit

BOOK = b"Once upon a time there was a small book.\n"
EXPECTED = ["README.md", "assets/README.md", "assets/books/book_small.txt", "assets/download.py", "assets/fables.txt",
            "part1/sweep.sbatch", "part1/tests/test_a.py", "part1/train.py", "part2/train_text.py", "part3/gcn.py",
            "report/figures/horizon.pdf", "report/figures/horizon.png", "report/generated/numbers.tex",
            "report/page.css", "report/page.py", "report/references.bib", "report/report.pdf", "report/report.tex",
            "report/results/lengths.csv", "report/results/text.json", "report/results/text_second.json",
            "requirements.txt"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small repository with everything that is packed, and much that is not."""
    root = tmp_path / "repository"
    packed = [name for name in EXPECTED if not name.endswith((".json", "report.pdf", "book_small.txt"))]
    others = [".git/config", ".gitignore", "runs/a/checkpoint.pt", "runs/a/x.py", "part1/__pycache__/train.pyc",
              ".venv/lib/x.py", "part1/.ipynb_checkpoints/train.py", "report/report.aux", "report/results/.lock",
              "part1/notes.txt", ".hypothesis/x.py", "assets/books/other.txt"]
    for name in packed + others:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    (root / "part1/tests/test_a.py").write_text("def test_a():\n    assert True\n")
    book = download.Book("small", "book_small.txt", len(BOOK), hashlib.sha256(BOOK).hexdigest())
    monkeypatch.setattr(download, "BOOKS_TABLE", {book.file: book})
    (root / "assets/books/book_small.txt").write_bytes(BOOK)
    for name, txt_file in ("text", book.file), ("text_second", "fables.txt"):
        content = files.read_json(files.ROOT / "report" / "results" / f"{name}.json")
        content["settings"]["txt_file"] = txt_file
        files.write_json(root / "report" / "results" / f"{name}.json", content)
    mark = build.fingerprint(root / "report", root / "report")
    (root / "report/report.pdf").write_bytes(f"%PDF-1.5\n/Keywords (sha256:{mark})\n".encode())
    return root


def test_the_archive_holds_what_is_handed_in_and_nothing_else(root, tmp_path):
    path = submit.submit("Jansen", tmp_path / "out", root, run_tests=False)
    assert list((tmp_path / "out").iterdir()) == [path] == [tmp_path / "out" / "Jansen_assignment2.zip"]
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == EXPECTED
        assert all(archive.read(name) == (root / name).read_bytes() for name in EXPECTED)
    for file in root.rglob("*"):  # the same content gives the same bytes
        os.utime(file, (1e9, 1e9))
        file.chmod(0o700)
    assert submit.submit("B", tmp_path, root, run_tests=False).read_bytes() == path.read_bytes()


def test_books_are_found_by_their_bytes_or_asked_for(root, tmp_path):
    (root / "assets/books/book_small.txt").write_bytes(BOOK.upper())
    with pytest.raises(cli.InputError, match=r"python -m assets\.download book_small\.txt .*--without_books"):
        submit.submit("Jansen", tmp_path / "out", root, run_tests=False)
    assert not (tmp_path / "out").exists()
    path = submit.submit("Jansen", tmp_path / "out", root, run_tests=False, with_books=False)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [name for name in EXPECTED if "books" not in name]


@pytest.mark.parametrize("name", ["", " ", "a/b", "../x", "..", "-x", ".x", "a1", "a\\b", "'", "x\0", "a:b", "x²",
                                  "a\u202eb", "\u0308a", "' a/b", "ö" * 101])
def test_names_that_are_no_last_names_are_refused(call, name, tmp_path):
    status, out, err = call(submit, "--skip_tests", f"--lastname={name}", "--output", tmp_path)
    assert status == 2 and err.count("\n") == 1 and "a last name has letters" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["Jansen", "van den Berg", "van 't Hoff", "'t Hooft", "O'Neill", "Smith-Jones",
                                  "d’Arc", "St. John Jr.", "M\u00fcller", "Nguyễn", "王", "शर्मा", "‘t Hoff", "Jean‐Luc",
                                  "Gal·la"])
def test_last_names_of_many_kinds_are_fine(name):
    assert submit.archive_name(name) == f"{name}_assignment2.zip"


def test_a_last_name_is_tidied():
    assert submit.archive_name("Mu\u0308ller") == "M\u00fcller_assignment2.zip"
    assert submit.archive_name("J.R.R.  Tolkien ") == "J.R.R. Tolkien_assignment2.zip"


def test_what_stops_the_packing_does_before_the_tests_run(root, tmp_path, monkeypatch):
    monkeypatch.setattr(submit, "verify", lambda archive: pytest.fail("the tests were run"))
    (tmp_path / "Jansen_assignment2.zip").write_bytes(b"mine")
    with pytest.raises(cli.InputError, match="exists already"):
        submit.submit("Jansen", tmp_path, root)
    with pytest.raises(OSError):
        submit.submit("Visser", tmp_path / "Jansen_assignment2.zip", root)
    assert (tmp_path / "Jansen_assignment2.zip").read_bytes() == b"mine"
    (root / "report/generated/numbers.tex").write_text("% other numbers\n")
    with pytest.raises(cli.InputError, match=r"not made from these.*report\.build"):
        submit.submit("Visser", tmp_path, root)
    (root / "report/report.pdf").unlink()
    with pytest.raises(cli.InputError, match=r"report\.pdf is missing.*report\.build"):
        submit.submit("Visser", tmp_path, root)
    (root / "report/report.pdf").write_bytes(b"%PDF-1.7 a report of one's own, without a mark")
    submit.submit("Visser", tmp_path, root, run_tests=False)


def test_the_suite_runs_from_the_archive_and_decides(root, tmp_path, capsys):
    test = root / "part1/tests/test_a.py"
    test.write_text("from pathlib import Path\n\n\ndef test_a():\n    assert Path('README.md').exists()\n"
                    f"    assert not Path(__file__).is_relative_to({str(root)!r})\n")
    assert submit.submit("Jansen", tmp_path / "out", root).exists()
    assert "1 passed" in capsys.readouterr().out
    test.write_text("def test_a():\n    assert False\n")
    with pytest.raises(cli.RunFailed, match="the tests do not pass from the archive.*1 failed"):
        submit.submit("Visser", tmp_path / "out", root)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["Jansen_assignment2.zip"]


def test_script_packs_this_repository(call, tmp_path):
    flags = "--lastname", "Jansen", "--output", tmp_path, "--skip_tests", "--without_books"
    assert call(submit, *flags)[::2] == (0, "")
    with zipfile.ZipFile(tmp_path / "Jansen_assignment2.zip") as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {*submit.ROOMS, "README.md", "requirements.txt"}
    assert all(path.relative_to(files.ROOT).as_posix() in names for room in submit.ROOMS
               for path in (files.ROOT / room).rglob("*") if path.suffix in (".py", ".sbatch", ".css"))
    assert not any("assets/books" in name or "cache" in name or name.endswith((".pt", ".pyc")) for name in names)
