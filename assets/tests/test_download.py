"""The downloader against a server on this machine that answers well, badly, late or not at all; no network needed."""
import errno
import hashlib
import os
import re
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
from part1 import cli

BODY = bytes(range(256)) * 400  # more than one piece of a transfer, and not text
BOOK = Book("small", "book_small.txt", len(BODY), hashlib.sha256(BODY).hexdigest())
OTHER = BODY[:-1] + b"?"  # as long as the book, but another file
OLD = b"an old file with the book's name"


class Answer:
    """What the server does with one request: `body`, of which `Content-Length` says `length`, then perhaps a wait."""

    def __init__(self, body=BODY, status=200, length=None, stall=0.0, drip=0.0, garbage=False):
        self.body, self.status, self.stall, self.drip, self.garbage = body, status, stall, drip, garbage
        self.length = len(body) if length is None else length

    def send(self, handler):
        if self.garbage:
            handler.wfile.write(b"this is not HTTP\r\n\r\n")
            return
        handler.send_response(self.status)
        handler.send_header("Content-Length", str(self.length))
        handler.end_headers()
        step = 1 if self.drip else len(self.body)
        for start in range(0, len(self.body), step or 1):
            handler.wfile.write(self.body[start:start + step])
            handler.wfile.flush()
            time.sleep(self.drip)
        handler.server.stop.wait(self.stall)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answers, asked = self.server.answers, self.server.asked
        answer = answers[min(len(asked), len(answers) - 1)]  # the last answer is given again and again
        asked.append(self.path)
        try:
            answer.send(self)
        except OSError:  # the client has had enough
            pass

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """A server whose list `answers` says what it does, and whose list `asked` gets the path of every request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.answers, server.asked, server.stop = [Answer()], [], threading.Event()
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
    monkeypatch.setattr(module, "time", type("time", (), {"monotonic": time.monotonic, "sleep": slept.append}))
    return slept


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """One small book in the table, and no proxy of this machine between the tests and their server."""
    monkeypatch.setattr(module, "BOOKS_TABLE", {BOOK.file: BOOK})
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first use
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "*")


def refused_url():
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["small", "book_small.txt"])
def test_a_good_file_arrives(server, tmp_path, name):
    folder = tmp_path / "new" / "books"
    path = download(name, folder, server.url)
    assert path == folder / BOOK.file and path.read_bytes() == BODY
    assert files(folder) == [BOOK.file] and server.asked == ["/books/book_small.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask  # readable by whoever may read a new file here


def test_the_address_may_end_without_a_slash(server, tmp_path):
    download("small", tmp_path, server.url.rstrip("/"))
    assert server.asked == ["/books/book_small.txt"]


BAD = {
    "truncated": (Answer(BODY[:5000], length=len(BODY)), f"only 5000 of {len(BODY)} bytes"),
    "short": (Answer(BODY[:5000]), f"only 5000 of {len(BODY)} bytes"),
    "empty": (Answer(b""), f"only 0 of {len(BODY)} bytes"),
    "long": (Answer(BODY + b"!"), f"more than its {len(BODY)} bytes"),
    "wrong checksum": (Answer(OTHER), hashlib.sha256(OTHER).hexdigest()),
    "server error": (Answer(b"", status=503), "HTTP 503"),
    "asked too often": (Answer(b"", status=429), "HTTP 429"),
    "not HTTP": (Answer(garbage=True), "this is not HTTP"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("before", [{}, {BOOK.file: OLD}], ids=["nothing there", "another file there"])
def test_a_bad_answer_is_tried_again_and_then_refused(server, tmp_path, pauses, kind, before):
    answer, message = BAD[kind]
    server.answers = [answer]
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError, match=rf"^book_small.txt could not be fetched \(tried 3 times\): .*{message}"):
        download("small", tmp_path, server.url, pause=1.5)
    assert len(server.asked) == 3 and pauses == [1.5, 3.0]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("kind", BAD)
def test_the_second_attempt_may_succeed(server, tmp_path, pauses, kind):
    server.answers = [BAD[kind][0], Answer()]
    (tmp_path / BOOK.file).write_bytes(OLD)
    said = []
    path = download("small", tmp_path, server.url, say=said.append)
    assert path.read_bytes() == BODY and files(tmp_path) == [BOOK.file]
    assert len(server.asked) == 2 and pauses == [1.0]
    assert len(said) == 2 and BAD[kind][1] in said[1] and said[1].endswith("next try in 1 s")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_answer_that_will_not_change_is_not_tried_again(server, tmp_path, pauses, status):
    server.answers = [Answer(b"no", status=status)]
    with pytest.raises(OSError, match=rf"^book_small.txt could not be fetched: HTTP {status} .*/books/book_small.txt$"):
        download("small", tmp_path / "books", server.url)
    assert len(server.asked) == 1 and pauses == [] and files(tmp_path) == []


def test_a_refused_connection_is_one_clear_error(tmp_path, pauses):
    with pytest.raises(OSError, match=r"no good answer from 127.0.0.1:\d+ \(Connection refused\); is there a network"):
        download("small", tmp_path / "books", refused_url(), attempts=2)
    assert pauses == [1.0] and files(tmp_path) == []


def test_a_silent_server_is_given_up(server, tmp_path):
    server.answers = [Answer(BODY[:100], length=len(BODY), stall=30)]
    start = time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        download("small", tmp_path, server.url, attempts=1, timeout=0.2)
    assert time.monotonic() - start < 5 and files(tmp_path) == []


def test_a_dripping_server_is_given_up(server, tmp_path):
    server.answers = [Answer(BODY[:100], length=len(BODY), drip=0.02)]  # two seconds
    with pytest.raises(OSError, match="too slow"):
        download("small", tmp_path, server.url, attempts=1, timeout=5, deadline=0.2)
    assert files(tmp_path) == []


def test_a_book_that_is_here_is_not_fetched(server, tmp_path):
    (tmp_path / BOOK.file).write_bytes(BODY)
    assert download("small", tmp_path, server.url) == tmp_path / BOOK.file
    assert server.asked == []


def test_another_file_in_its_place_is_replaced(server, tmp_path):
    (tmp_path / BOOK.file).write_bytes(OTHER)
    assert download("small", tmp_path, server.url).read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_full_disk_is_not_tried_again(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", full)
    (tmp_path / BOOK.file).write_bytes(OLD)
    with pytest.raises(OSError, match="No space left"):
        download("small", tmp_path, server.url)
    assert len(server.asked) == 1 and files(tmp_path) == [BOOK.file]
    assert (tmp_path / BOOK.file).read_bytes() == OLD


def test_it_goes_through_a_proxy(server, tmp_path, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url)
    assert download("small", tmp_path, "http://books.invalid/", attempts=1).read_bytes() == BODY
    assert server.asked == ["http://books.invalid/book_small.txt"]


def test_no_attempt_at_all_is_an_error(server, tmp_path):
    with pytest.raises(ValueError, match="attempts must be at least 1, not 0"):
        download("small", tmp_path, server.url, attempts=0)


def test_a_file_is_known_by_its_bytes(tmp_path):
    path = tmp_path / "renamed"
    path.write_bytes(BODY)
    assert module.identify(path) == BOOK
    assert module.local("small", tmp_path) is None  # the right bytes, but not at the book's place
    path.write_bytes(OTHER)
    assert module.identify(path) is None
    with pytest.raises(OSError):
        module.identify(tmp_path / "missing")


# The script

@pytest.fixture
def script(server, tmp_path, monkeypatch, capfd):
    """Run the script in this process, on the small book and the local server: exit status, output, error output."""
    monkeypatch.setattr(module, "BOOKS", tmp_path / "books")
    monkeypatch.setattr(module, "URL", server.url)

    def run(*argv):
        try:
            status = cli.main(module.parse_args, module.main, list(argv))
        except SystemExit as stop:
            status = stop.code
        return status, *capfd.readouterr()

    return run


def test_the_script_fetches_every_book_once(script, server, tmp_path):
    status, output, errors = script()
    assert (status, errors) == (0, "") and "small: fetched" in output and files(tmp_path / "books") == [BOOK.file]
    status, output, errors = script("small", BOOK.file)
    assert (status, errors) == (0, "") and output.count("small: already here") == 1
    assert len(server.asked) == 1


def test_list_fetches_nothing(script, server, tmp_path):
    assert re.fullmatch(rf"small +{len(BODY)} bytes +not here +book_small.txt\n", script("--list")[1])
    assert server.asked == [] and files(tmp_path) == []
    script()
    assert re.fullmatch(rf"small +{len(BODY)} bytes +here +book_small.txt\n", script("--list")[1])


@pytest.mark.parametrize("argv, message", [
    (["small", "bible"], "error: no book is called 'bible'; there are small"),
    ([""], "error: no book is called ''; there are small"),
    (["../small"], "error: no book is called '../small'; there are small"),
    (["--lis"], "python -m assets.download: error: unrecognized arguments: --lis"),
])
def test_wrong_arguments_are_one_line_before_any_request(script, server, tmp_path, argv, message):
    assert script(*argv) == (2, "", message + "\n")
    assert server.asked == [] and files(tmp_path) == []


def test_without_a_network_the_script_ends_in_one_line(script, monkeypatch, pauses):
    monkeypatch.setattr(module, "URL", refused_url())
    status, _, errors = script()
    assert status == 2 and errors.startswith("error: book_small.txt could not be fetched (tried 3 times): no good ans")
    assert errors.count("\n") == 1 and "urlopen" not in errors


def test_a_file_where_the_folder_should_be_is_one_line(script, tmp_path):
    (tmp_path / "books").write_text("in the way")
    status, _, errors = script()
    assert status == 2 and errors == f"error: File exists: {tmp_path / 'books'}\n"


DRIVER = """
import runpy, sys, urllib.request
from pathlib import Path
from part1 import cli
_, root, url = sys.argv
cli.ROOT, there = Path(root), urllib.request.urlopen
urllib.request.urlopen = lambda address, timeout: there(url + address.split("/")[-1], timeout=timeout)
sys.argv[1:] = ["grimms"]
runpy.run_module("assets.download", run_name="__main__")
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_script_leaves_nothing(server, tmp_path, signum):
    server.answers = [Answer(length=550595, stall=30)]  # some of the book, and then silence
    folder = tmp_path / "assets" / "books"
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), server.url], cwd=cli.ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        while not (folder.is_dir() and files(folder)) and process.poll() is None:
            time.sleep(0.01)
        assert process.returncode is None and files(folder)[0].endswith(".part")  # it is in the middle
        process.send_signal(signum)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + signum
    assert errors == "stopped: the book that was on its way is not kept; the same command goes on\n"
    assert files(folder) == []


def test_it_runs_as_a_file_from_any_folder(tmp_path):
    done = subprocess.run([sys.executable, str(cli.ROOT / "assets" / "download.py"), "--list"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == "grimms democracy darwin tolstoy calculus".split()


def test_it_needs_no_torch():
    check = "import sys; sys.modules['torch'] = None; import assets.download as d; print(*d.BOOKS_TABLE)"
    done = subprocess.run([sys.executable, "-c", check], cwd=cli.ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and len(done.stdout.split()) == 5
