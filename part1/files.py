"""Files, without torch: written whole or not at all, read with errors that name the file and what is wrong with it.

Results are CSV tables and JSON; a folder that a script works in is locked.
"""
import contextlib
import csv
import errno
import hashlib
import io
import json
import os
from pathlib import Path

import filelock

from part1.cli import InputError

ROOT = Path(__file__).resolve().parents[1]  # of the repository


class Busy(InputError):
    """Another process is at work in the folder."""


@contextlib.contextmanager
def locked(folder, name=".lock"):
    """Hold the lock `name` of `folder`, which dies with its process; `Busy` when another process has it."""
    lock = filelock.FileLock(Path(folder) / name)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise Busy(f"another process is at work in {folder}") from None
    try:
        yield
    finally:
        lock.release()


def display(path):
    """`path` as seen from the current folder, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


def write_atomically(path, content):
    """Replace the file `path` by the bytes `content`, wholly or not at all, even when the machine loses power."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # some systems and disks cannot sync a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Appended:
    """A text file that a run appends to, and whose beginning the run's checkpoint vouches for.

    Args:
        path: of the file.
        state: what `state()` was when the checkpoint was saved (None: nothing was there yet). `InputError` when the
            file does not begin with that. What came after is cut by `cut`, or by the next `append`.
    """

    def __init__(self, path, state=None):
        self.path = path
        self._set(path.read_bytes()[:state["size"]] if state and path.exists() else b"")
        if state and self.state() != state:
            raise InputError(f"{display(path)} does not begin with what the last checkpoint says: is it damaged?")

    def _set(self, content):
        self.size, self.sha256 = len(content), hashlib.sha256(content)

    def state(self):
        """Size and sha256 of all that was appended, a dict."""
        return {"size": self.size, "sha256": self.sha256.hexdigest()}

    def append(self, text):
        """Add all of `text` to the file, or nothing."""
        content = text.encode()
        with open(self.path, "ab", buffering=0) as file:
            file.truncate(self.size)
            try:
                if file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            except OSError:
                file.truncate(self.size)
                raise
        self.size += len(content)
        self.sha256.update(content)

    def drop_line(self):
        """Leave out the last line. The file itself changes with `cut`."""
        content = self.path.read_bytes()[:self.size]
        self._set(content[:content.rstrip(b"\n").rfind(b"\n") + 1])

    def sync(self, cut=False):
        """See that the file is on the disk, with `cut` without what this run did not append; returns `state()`."""
        if self.path.exists():
            with open(self.path, "ab") as file:
                if cut:
                    file.truncate(self.size)
                os.fsync(file.fileno())
        return self.state()


def write_json(path, content):
    """Write `content` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path):
    """The content of a JSON file; `InputError` when it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{display(path)} is not JSON: {error}") from None


def csv_text(rows, header=True):
    """`rows`, dicts with the same keys, as the text of a CSV file; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_csv(path, rows):
    """Write `rows`, dicts with the same keys, as a CSV file, atomically."""
    write_atomically(path, csv_text(rows).encode())


def read_csv(path, columns=(), size=None):
    """The rows of a CSV file as dicts: whole numbers as int, other numbers as float, empty fields as None.

    `size`: read only that many bytes. Raises `InputError` for a file that is no table with at least one row, lacks one
    of `columns` or is damaged.
    """
    def value(field):
        for kind in (int, float):
            with contextlib.suppress(ValueError):
                return kind(field)
        return field or None

    try:
        text = Path(path).read_bytes()[:size].decode("utf-8-sig")
        names, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{display(path)} is not a CSV table: {error}") from None
    if missing := [name for name in columns if name not in names]:
        raise InputError(f"{display(path)} has no column {', '.join(missing)}")
    for k, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise InputError(f"line {k} of {display(path)} has {len(row)} fields, not {len(names)}: is it damaged?")
    if not rows:
        raise InputError(f"{display(path)} has no rows")
    return [dict(zip(names, map(value, row))) for row in rows]
