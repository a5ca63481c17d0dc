"""The downloader against a server on this machine that answers well, badly, late or not at all; no network needed."""
import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from assets import download as module
from assets.download import Book, download
from part1 import cli, files

BODY = bytes(range(256)) * 400  # more than one piece of a transfer, and not text
BOOK = Book("small", "book_small.txt", len(BODY), hashlib.sha256(BODY).hexdigest())
LONGER = BODY + b"!"


class Handler(BaseHTTPRequestHandler):
    """Gives the server's answers in turn, the last one again and again: a body, a status, "garbage", or None for
    silence before the last byte."""

    def do_GET(self):
        answers, asked = self.server.answers, self.server.asked
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(self.path)
        if answer == "garbage":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
            return
        self.send_response(answer if isinstance(answer, int) else 200)
        self.send_header("Content-Length", str(len(BODY) + (answer == LONGER)))
        self.end_headers()
        if isinstance(answer, bytes):
            self.wfile.write(answer)
        elif answer is None:
            self.wfile.write(BODY[:-1])
            self.server.stop.wait(30)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server whose list `answers` says what it does, and whose list `asked` gets the path of every request; one small
    book in the table, and no proxy of this machine between the tests and the server."""
    monkeypatch.setattr(module, "BOOKS_TABLE", {BOOK.file: BOOK})
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first use
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.answers, server.asked, server.stop = [BODY], [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/books/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between attempts, which the tests do not sit through."""
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("answer, message", [
    (BODY[:5000], "5000 bytes"), (LONGER, f"{len(BODY) + 1} bytes"),
    (BODY[:-1] + b"?", f"{len(BODY)} bytes with the sha256 .* came"),
    (503, "503"), (404, "404"), ("garbage", "this is not HTTP"), (None, "timed out"),
])
def test_a_bad_answer_is_tried_again(server, tmp_path, pauses, monkeypatch, answer, message):
    """Three bad answers are an error and leave nothing; a good one after a bad one is the book."""
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    server.answers = [answer]
    with pytest.raises(OSError, match=rf"^book_small.txt could not be fetched from .*{message}"):
        download("small", tmp_path, server.url)
    assert len(server.asked) == 3 and pauses == [1, 3]
    assert names(tmp_path) == []
    server.answers = [answer] * 4 + [BODY]
    assert download("small", tmp_path, server.url).read_bytes() == BODY and names(tmp_path) == [BOOK.file]


def test_a_full_disk_is_not_tried_again(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        download("small", tmp_path, server.url)
    assert len(server.asked) == 1 and names(tmp_path) == []


def test_another_file_of_the_books_name_is_kept(server, tmp_path):
    (tmp_path / BOOK.file).write_bytes(b"notes in the book's margin")
    with pytest.raises(cli.InputError, match="book_small.txt is not the course's book .*move it away"):
        download("small", tmp_path, server.url)
    assert server.asked == [] and (tmp_path / BOOK.file).read_bytes() == b"notes in the book's margin"


# The script

@pytest.fixture
def script(server, tmp_path, monkeypatch, capfd):
    """Run the script in this process, on the small book and the local server: exit status, output, error output."""
    monkeypatch.setattr(module, "BOOKS", tmp_path / "books")
    monkeypatch.setattr(module, "URL", server.url)
    return lambda *argv: (cli.main(module.parse_args, module.main, list(argv)), *capfd.readouterr())


def test_the_script_lists_and_fetches_every_book_once(script, server, tmp_path):
    assert script("--list") == (0, f"small {len(BODY):>13} bytes  not here   book_small.txt\n", "")
    assert server.asked == [] and names(tmp_path) == []
    status, output, errors = script()
    assert (status, errors) == (0, "") and "small: fetched" in output and names(tmp_path / "books") == [BOOK.file]
    assert (tmp_path / "books" / BOOK.file).read_bytes() == BODY
    status, output, errors = script("small", BOOK.file)
    assert (status, errors) == (0, "") and output.count("small: already here") == 1
    assert script("--list")[1] == f"small {len(BODY):>13} bytes  here       book_small.txt\n"
    assert server.asked == ["/books/book_small.txt"]


def test_an_unknown_book_is_one_line_before_any_request(script, server, tmp_path):
    assert script("small", "../small") == (2, "", "error: no book is called '../small'; there are small\n")
    assert server.asked == [] and names(tmp_path) == []


def test_without_a_network_the_script_ends_in_one_line(script, monkeypatch, pauses, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(module, "URL", f"http://127.0.0.1:{probe.getsockname()[1]}/")  # where nothing listens
    status, _, errors = script()
    assert status == 2 and names(tmp_path) == []
    assert errors.startswith("error: book_small.txt could not be fetched from") and errors.count("\n") == 1
    assert "Connection refused" in errors


def test_a_stopped_script_leaves_nothing(server, tmp_path):
    server.answers = [None]  # almost all of the book, and then silence
    driver = ("import sys; from pathlib import Path; from assets import download as d; from part1 import cli\n"
              "d.BOOKS, d.URL = Path(sys.argv[1]), sys.argv[2]; sys.exit(cli.main(d.parse_args, d.main, ['grimms']))")
    with subprocess.Popen([sys.executable, "-c", driver, str(tmp_path), server.url], cwd=files.ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not server.asked and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.startswith("stopped: ") and errors.count("\n") == 1 and names(tmp_path) == []


def test_it_runs_as_a_file_from_any_folder_without_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not needed')")
    done = subprocess.run([sys.executable, str(files.ROOT / "assets" / "download.py"), "--list"], cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == "grimms democracy darwin tolstoy calculus".split()
