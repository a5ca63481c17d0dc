"""Fetches the five books of the course's repository into `assets/books/`, which git ignores.

    python -m assets.download                     # all five
    python -m assets.download grimms darwin       # two of them; file names work too
    python -m assets.download --list              # names, sizes and which are already here

Every book comes from one pinned commit and is checked against its sha256, so that everybody trains on the same bytes.
A book that is here already is not fetched again. A book appears whole or not at all: it is written to a temporary file
beside its place and renamed when it has been checked.
"""
import functools
import hashlib
import http.client
import itertools
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tqdm import tqdm

from part1 import cli

BOOKS = cli.ROOT / "assets" / "books"
URL = ("https://raw.githubusercontent.com/uvadlc/DL_assignments_2019/"
       "b396da3ef01084e06eb8d6791f354c8afa8fafbd/assignment_2/part2/assets/")


class Book(NamedTuple):
    """One book of the course: its short name, its file name, and what its bytes must be."""

    short: str
    file: str
    size: int
    sha256: str


BOOKS_TABLE = {book.file: book for book in (
    Book("grimms", "book_EN_grimms_fairy_tails.txt", 550595,
         "e6439bd511820742e842e21b75e89b394d3809eec82ca56b506c39ff39d4a7d6"),
    Book("democracy", "book_EN_democracy_in_the_US.txt", 1148437,
         "1ba23c5acbb00b0ffbfe48be30273f5b965eaedca5e8dfce55253e6bb24f2ca5"),
    Book("darwin", "book_NL_darwin_reis_om_de_wereld.txt", 1366815,
         "389b114334f9e34bea0b01d43dbe6892d44d7c9430c79a6517c74f0658370535"),
    Book("tolstoy", "book_NL_tolstoy_anna_karenina.txt", 1314934,
         "e8516bf15a6636966224617543fa22a129b35655f66fdfe8af224a9802e8e633"),
    Book("calculus", "book_TeX_calculus_made_easy.tex", 434571,
         "ceca75298f640dfda6e9d632c7f7b1d71d04bc3e619140b8ea1bc76991d57352"),
)}


class TransferError(OSError):
    """An attempt that failed on the way; `final` says that another one would fail the same way."""

    def __init__(self, message, final=False):
        super().__init__(message)
        self.final = final


def find(name):
    """The `Book` whose file name or short name is `name`; `ValueError` that lists the names if there is none."""
    for book in BOOKS_TABLE.values():
        if name in (book.file, book.short):
            return book
    raise ValueError(f"no book is called {name!r}; there are {', '.join(book.short for book in BOOKS_TABLE.values())}")


def sha256(path):
    """The sha256 of a file, as 64 hexadecimal digits; `OSError` if it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identify(path):
    """The `Book` whose bytes the file at `path` holds, whatever it is called, or `None`; `OSError` as in `sha256`."""
    size = os.path.getsize(path)
    candidates = [book for book in BOOKS_TABLE.values() if book.size == size]
    digest = sha256(path) if candidates else None
    return next((book for book in candidates if book.sha256 == digest), None)


def local(name, folder=BOOKS):
    """The path of a book that is in `folder` with the right sha256, or `None`; `ValueError` for an unknown name."""
    book = find(name)
    path = Path(folder) / book.file
    return path if path.is_file() and identify(path) == book else None


def download(name, folder=BOOKS, url=URL, attempts=3, pause=1.0, timeout=20, deadline=300, say=None):
    """Make sure that a book is in a folder, fetching it if it is not.

    `name` is a file name or short name, `folder` (created if need be) is where the book goes, `url` is the address that
    the file name is put behind. A failed attempt is followed by another one after `pause` seconds, then 2 `pause`, and
    so on, `attempts` in all; an answer such as 404, which waiting does not change, ends it at once. An attempt fails
    after `timeout` seconds without a byte, or `deadline` seconds in all. `say` gets a line of text for each step.

    Returns the book's path. Raises `ValueError` for an unknown name or no attempts, `OSError` if the book could not be
    fetched or written; whatever was at its place before is then still there, and no temporary file is left.
    """
    book = find(name)
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1, not {attempts}")
    if path := local(name, folder):
        return path
    say = say or (lambda line: None)
    address = url.rstrip("/") + "/" + book.file
    say(f"{book.short}: fetching {book.size} bytes from {urlsplit(address).netloc}")
    for attempt in range(1, attempts + 1):
        try:
            return _fetch(book, Path(folder), address, timeout, time.monotonic() + deadline)
        except TransferError as error:
            if error.final or attempt == attempts:
                tried = "" if error.final or attempts == 1 else f" (tried {attempts} times)"
                raise OSError(f"{book.file} could not be fetched{tried}: {error}") from error
            say(f"{book.short}: {error}; next try in {attempt * pause:g} s")
            time.sleep(attempt * pause)


def _fetch(book, folder, address, timeout, end):
    """One attempt: the checked book at its place in `folder`, or `TransferError` and nothing changed."""
    temporary = folder / f".{book.file}.{os.getpid()}.part"
    chunks = _chunks(address, timeout)
    first = next(chunks, b"")  # before anything is created: without a network there is nothing to clean up
    folder.mkdir(parents=True, exist_ok=True)
    try:
        digest, size = hashlib.sha256(), 0
        with (open(temporary, "wb") as file,
              tqdm(total=book.size, desc=book.short, unit="B", unit_scale=True, leave=False, disable=None) as bar):
            for chunk in itertools.chain([first], chunks):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
                size += len(chunk)
                if size > book.size:
                    raise TransferError(f"more than its {book.size} bytes came")
                if time.monotonic() > end:
                    raise TransferError(f"too slow, {size} of {book.size} bytes came in time")
            if size < book.size:
                raise TransferError(f"only {size} of {book.size} bytes came")
            if digest.hexdigest() != book.sha256:
                raise TransferError(f"another file came, with the sha256 {digest.hexdigest()}")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / book.file)
    finally:  # Ctrl-C comes through here too
        chunks.close()
        temporary.unlink(missing_ok=True)
    return folder / book.file


def _chunks(address, timeout):
    """The body behind `address` in pieces as they come; every failure of the network is a `TransferError`."""
    try:
        with urllib.request.urlopen(address, timeout=timeout) as response:
            while chunk := response.read1(1 << 16):  # one call to the socket each, so that no wait adds up unseen
                yield chunk
    except urllib.error.HTTPError as error:
        with error:
            waiting_may_help = error.code >= 500 or error.code in (408, 429)
            raise TransferError(f"HTTP {error.code} {error.reason}, {address}", final=not waiting_may_help) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)  # urllib wraps what went wrong in a URLError
        reason = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        server = urlsplit(address).netloc
        raise TransferError(f"no good answer from {server} ({reason}); is there a network?") from error


def parse_args(argv=None):
    parser = cli.Parser("assets.download", "Fetch the course's books into assets/books/ and check them.")
    parser.add_argument("name", metavar="NAME", nargs="*", default=[book.short for book in BOOKS_TABLE.values()],
                        help="books to fetch, by short name or file name")
    parser.add_argument("--list", action="store_true", help="show the books and which are here; fetch nothing")
    return parser.parse(argv)


def main(config):
    books = list(dict.fromkeys(find(name) for name in config.name))  # all names are looked at before the first fetch
    for book in books:
        here = local(book.file, BOOKS) is not None
        if config.list:
            print(f"{book.short:<10}{book.size:>9} bytes  {'here' if here else 'not here':<9}  {book.file}")
            continue
        path = download(book.file, BOOKS, URL, say=functools.partial(print, flush=True))
        shorter = min(str(path), os.path.relpath(path), key=len)
        print(f"{book.short}: {'already here' if here else 'fetched'}, {shorter}")


def _stop(signum, frame):
    raise cli.Interrupted("the book that was on its way is not kept; the same command goes on", signum)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(cli.main(parse_args, main))
