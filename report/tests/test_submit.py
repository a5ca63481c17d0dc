"""The archive: its exact content, the same bytes for the same content, its check, and its errors."""
import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from assets import download
from part1 import cli, run
from report import build, submit

BOOK = b"Once upon a time there was a small book.\n"
EXPECTED = ["README.md", "assets/README.md", "assets/books/book_small.txt", "assets/download.py", "assets/fables.txt",
            "part1/tests/test_a.py", "part1/train.py", "part2/train_text.py", "part3/gcn.py",
            "report/figures/lengths.pdf", "report/figures/lengths.png", "report/generated/numbers.tex",
            "report/references.bib", "report/report.pdf", "report/report.tex", "report/results/lengths.csv",
            "report/results/text.json", "report/results/text_second.json", "report/style.py", "requirements.txt"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small repository with everything that is packed, and much that is not."""
    root = tmp_path / "repository"
    files = [name for name in EXPECTED if not name.endswith((".json", "report.pdf", "book_small.txt"))]
    others = [".git/config", ".gitignore", "runs/a/checkpoint.pt", "runs/a/x.py", "part1/__pycache__/train.pyc",
              ".venv/lib/x.py", "part1/.ipynb_checkpoints/train.py", "report/report.aux", "report/results/.lock",
              "part1/notes.txt", "report/tests/__pycache__/x.pyc", ".hypothesis/x.py", "assets/books/other.txt"]
    for name in files + others:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    (root / "part1/tests/test_a.py").write_text("def test_a():\n    assert True\n")
    book = download.Book("small", "book_small.txt", len(BOOK), hashlib.sha256(BOOK).hexdigest())
    monkeypatch.setattr(download, "BOOKS_TABLE", {book.file: book})
    (root / "assets/books" / book.file).write_bytes(BOOK)
    run.write_json(root / "report/results/text.json", {"settings": {"txt_file": book.file}})
    run.write_json(root / "report/results/text_second.json", {"settings": {"txt_file": "fables.txt"}})
    make_pdf(root)
    return root


def make_pdf(root):
    mark = build.fingerprint(root / "report", root / "report")
    (root / "report/report.pdf").write_bytes(f"%PDF-1.5\n/Keywords (sha256:{mark})\n".encode())


def test_the_archive_holds_what_is_handed_in_and_nothing_else(root, tmp_path):
    path = submit.submit("Jansen", tmp_path / "out", root, run_tests=False)
    assert path == tmp_path / "out" / "Jansen_assignment2.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == EXPECTED
        assert archive.read("assets/books/book_small.txt") == BOOK
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    assert list((tmp_path / "out").iterdir()) == [path]


def test_the_same_content_gives_the_same_bytes(root, tmp_path):
    first = submit.submit("A", tmp_path, root, run_tests=False).read_bytes()
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    assert submit.submit("B", tmp_path, root, run_tests=False).read_bytes() == first
    (root / "part1/train.py").write_text("# changed\n")
    assert submit.submit("C", tmp_path, root, run_tests=False).read_bytes() != first


def test_books_are_found_by_their_bytes_or_asked_for(root, tmp_path):
    (root / "assets/books/book_small.txt").write_bytes(BOOK.upper())
    with pytest.raises(ValueError, match=r"python -m assets\.download small.*--without_books"):
        submit.submit("Jansen", tmp_path / "out", root, run_tests=False)
    assert not (tmp_path / "out").exists()
    path = submit.submit("Jansen", tmp_path / "out", root, run_tests=False, with_books=False)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [name for name in EXPECTED if "books" not in name]


@pytest.mark.parametrize("name", ["", " ", "a/b", "../x", ".", "-x", "x-", "a  b", "a1", "a.b", "x\n", "a\\b",
                                  "x" * 101])
def test_names_that_are_no_last_names_are_refused(call, name, tmp_path):
    with pytest.raises(ValueError, match="a last name has letters"):
        submit.archive_name(name)
    status, out, err = call(submit, "--skip_tests", f"--lastname={name}", "--output", tmp_path)
    assert status == 2 and err.count("\n") == 1 and "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["Jansen", "van den Berg", "O'Neill", "Löwe", "Smith-Jones", "d’Arc"])
def test_last_names_of_many_kinds_are_fine(name):
    assert submit.archive_name(name) == f"{name}_assignment2.zip"


def test_an_archive_that_exists_is_not_overwritten(root, tmp_path):
    (tmp_path / "Jansen_assignment2.zip").write_bytes(b"mine")
    with pytest.raises(ValueError, match="exists already"):
        submit.submit("Jansen", tmp_path, root, run_tests=False)
    assert (tmp_path / "Jansen_assignment2.zip").read_bytes() == b"mine"


def test_a_missing_or_outdated_pdf_is_an_error(root, tmp_path):
    (root / "report/generated/numbers.tex").write_text("% other numbers\n")
    with pytest.raises(ValueError, match=r"not made from these.*report\.build"):
        submit.submit("Jansen", tmp_path, root, run_tests=False)
    (root / "report/report.pdf").write_bytes(b"%PDF-1.7 a report of one's own, without a mark")
    submit.submit("Jansen", tmp_path, root, run_tests=False)
    (root / "report/report.pdf").unlink()
    with pytest.raises(ValueError, match=r"report\.pdf is missing.*report\.build"):
        submit.submit("Visser", tmp_path, root, run_tests=False)
    make_pdf(root)
    (root / "requirements.txt").unlink()
    with pytest.raises(ValueError, match=r"requirements\.txt is missing"):
        submit.submit("Visser", tmp_path, root, run_tests=False)


def test_the_suite_runs_from_the_archive_and_decides(root, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(submit.GUARD, raising=False)
    test = root / "part1/tests/test_a.py"
    test.write_text("import os\nfrom pathlib import Path\n\n\ndef test_a():\n"
                    f"    assert os.environ['{submit.GUARD}']\n    assert Path('README.md').exists()\n"
                    f"    assert not Path(__file__).is_relative_to({str(root)!r})\n")
    assert submit.submit("Jansen", tmp_path / "out", root).exists()
    assert "1 passed" in capsys.readouterr().out
    test.write_text("def test_a():\n    assert False\n")
    with pytest.raises(cli.RunFailed, match="the tests do not pass from the archive.*1 failed"):
        submit.submit("Visser", tmp_path / "out", root)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["Jansen_assignment2.zip"]


def test_the_suite_does_not_call_itself(root, tmp_path, monkeypatch):
    monkeypatch.setenv(submit.GUARD, "1")
    (root / "part1/tests/test_a.py").write_text("def test_a():\n    assert False\n")
    assert submit.submit("Jansen", tmp_path, root).exists()


def test_a_file_that_changes_meanwhile_is_noticed(root):
    content = submit.collect(root)
    archive = submit.pack(content)
    (root / "part1/train.py").write_text("# changed\n")
    with pytest.raises(cli.RunFailed, match="did a file change meanwhile"):
        submit.verify(archive, content, run_tests=False)


def test_script_packs_this_repository(call, tmp_path, monkeypatch):
    if not (build.REPORT / "report.pdf").exists():
        pytest.skip("there is no report/report.pdf yet")
    status, out, err = call(submit, "--lastname", "Jansen", "--output", tmp_path, "--skip_tests", "--without_books")
    assert (status, err) == (0, "")
    with zipfile.ZipFile(tmp_path / "Jansen_assignment2.zip") as archive:
        names = archive.namelist()
    assert {Path(name).parts[0] for name in names} == {"part1", "part2", "part3", "assets", "report", "README.md",
                                                       "requirements.txt"}
    folders = ("part1", "part2", "part3", "report", "assets")
    assert all(path.relative_to(cli.ROOT).as_posix() in names for folder in folders
               for path in (cli.ROOT / folder).rglob("*.py"))
    assert not any("books" in name or "cache" in name or name.endswith((".pt", ".pyc")) for name in names)
