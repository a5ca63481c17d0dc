"""Fetches the five books of the course's repository into `assets/books/`, which git ignores.

    python -m assets.download                     # all five
    python -m assets.download grimms darwin       # two of them; file names work too
    python -m assets.download --list              # names, sizes and which are already here

Every book comes from one pinned commit and is checked against its sha256, so that everybody trains on the same bytes.
"""
import hashlib
import http.client
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, files

BOOKS = files.ROOT / "assets" / "books"
URL = ("https://raw.githubusercontent.com/uvadlc/DL_assignments_2019/"
       "b396da3ef01084e06eb8d6791f354c8afa8fafbd/assignment_2/part2/assets/")
TIMEOUT = 20  # seconds without a byte


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


def find(name):
    """The `Book` whose file name or short name is `name`; `InputError` that lists the names if there is none."""
    for book in BOOKS_TABLE.values():
        if name in (book.file, book.short):
            return book
    shorts = ", ".join(book.short for book in BOOKS_TABLE.values())
    raise cli.InputError(f"no book is called {name!r}; there are {shorts}")


def local(name, folder=BOOKS):
    """The path of a book that is in `folder` with the right sha256, or `None`; `InputError` for an unknown name."""
    book = find(name)
    path = Path(folder) / book.file
    right = path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == book.sha256
    return path if right else None


def download(name, folder=BOOKS, url=URL):
    """Make sure that the book `name` is in `folder`; returns its path. `url` is the address of the books' folder.

    A fetch gets three tries, seconds apart. Raises `InputError` for an unknown name or where another file has
    the book's name, which is then kept, and `OSError` for a book that could not be fetched or written.
    """
    book = find(name)
    path = Path(folder) / book.file
    if local(name, folder):
        return path
    if path.exists():
        raise cli.InputError(f"{files.display(path)} is not the course's book (its sha256 is another); move it away to "
                             "have the book fetched")
    for pause in (1, 3, None):
        try:
            with urllib.request.urlopen(f"{url.rstrip('/')}/{book.file}", timeout=TIMEOUT) as response:
                content = response.read(book.size + 1)
            digest = hashlib.sha256(content).hexdigest()
            if digest == book.sha256:
                break
            raise OSError(f"{len(content)} bytes with the sha256 {digest} came, not the book's {book.size}")
        except (OSError, http.client.HTTPException) as error:
            if pause is None:
                raise OSError(f"{book.file} could not be fetched from {url}: {error}") from error
            print(f"{book.short}: {error}; next try in {pause} s", flush=True)
            time.sleep(pause)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, content)
    return path


def parse_args(argv=None):
    parser = cli.Parser("assets.download", "Fetch the course's books into assets/books/ and check them.")
    parser.add_argument("name", metavar="NAME", nargs="*", default=[book.short for book in BOOKS_TABLE.values()],
                        help="books to fetch, by short name or file name")
    parser.add_argument("--list", action="store_true", help="show the books and which are here; fetch nothing")
    return parser.parse_args(argv)


def main(config):
    for book in dict.fromkeys([find(name) for name in config.name]):  # all names are looked at before the first fetch
        here = local(book.file, BOOKS) is not None
        if config.list:
            print(f"{book.short:<10}{book.size:>9} bytes  {'here' if here else 'not here':<9}  {book.file}")
        else:
            path = download(book.file, BOOKS, URL)
            print(f"{book.short}: {'already here' if here else 'fetched'}, {files.display(path)}", flush=True)


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
