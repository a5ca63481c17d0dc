"""Files, without torch: written whole or not at all, read with errors that name the file and what is wrong with it.

Results are CSV tables and JSON; a folder that a script works in is locked.
"""
import contextlib
import csv
import errno
import functools
import hashlib
import io
import json
import operator
import os
import sys
from pathlib import Path

import filelock

from part1.cli import InputError

ROOT = Path(__file__).resolve().parents[1]  # of the repository
# How disks say that they cannot lock a file (some of Lustre, NFS) or sync it (CIFS, WSL).
UNSUPPORTED = {errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Busy(InputError):
    """Another process is at work in the folder."""


@functools.cache
def note(text):
    """Print `text` on standard error, the first time it comes."""
    print(f"note: {text}", file=sys.stderr)


@contextlib.contextmanager
def locked(folder, name=".lock"):
    """Hold the lock `name` of `folder`, which dies with its process; `Busy` when another process has it.

    On a disk that has no locks, goes on without.
    """
    lock = filelock.FileLock(Path(folder) / name, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise Busy(f"another process is at work in {folder}") from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        note("this disk has no locks: do not start a second process in the same folder")
    try:
        yield
    finally:
        lock.release()


def display(path):
    """`path` as seen from the current folder, where that is shorter; as it is, where a `..` in it may follow a link."""
    try:
        return str(path) if ".." in Path(path).parts else min(str(path), os.path.relpath(path), key=len)
    except (OSError, ValueError):  # the current folder was deleted, or is on another drive of Windows
        return str(path)


def make_folder(folder):
    """Make `folder` and those above it that are missing; all of them, or none."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def sync(file):
    """Wait until `file`, open or a descriptor, is on the disk; on one that cannot tell, goes on at once."""
    try:
        os.fsync(file if isinstance(file, int) else file.fileno())
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        note("this disk cannot say when a file is safe: a power failure may cost more than the last minutes")


def write_atomically(path, content):
    """Replace the file `path` by the bytes `content`, wholly or not at all, even when the machine loses power."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            sync(file)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # Windows cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            sync(folder)
        finally:
            os.close(folder)


class Appended:
    """A text file that a run appends to. Checkpoints keep its size and hash, so that a resumed run knows its beginning.

    Args:
        path: of the file.
        state: what `state()` was when the checkpoint was saved (None: nothing was there yet). `InputError` when the
            file does not begin with that. `sync(cut=True)` or `append` cuts what came after.
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

    def drop_row(self):
        """Leave out a CSV table's last row; with the only row, the header too. `sync(cut=True)` cuts the file."""
        header, *rows, _ = self.path.read_bytes()[:self.size].splitlines(keepends=True)
        self._set(header + b"".join(rows) if rows else b"")

    def sync(self, cut=False):
        """See that the file is on the disk, with `cut` without what this run did not append; returns `state()`.

        A file of which nothing is known to be the run's is not cut.
        """
        if self.path.exists():
            with open(self.path, "ab") as file:
                if cut and self.size:
                    file.truncate(self.size)
                sync(file)
        return self.state()


def write_json(path, content):
    """Write `content` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path):
    """The content of a JSON file; `InputError` when it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{display(path)} is not JSON: {error}") from None


def csv_text(rows, header=True):
    """`rows`, dicts with the same keys, as the text of a CSV file; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def refuse_foreign(path, columns):
    """Raise `InputError` if `path` exists and its header has neither all of `columns` nor only these: not ours."""
    if path.exists():
        header = set(path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].split(","))
        if not (header <= set(columns) or header >= set(columns)):
            raise InputError(f"{display(path)} would be replaced, but was not made here: choose another --output")


def write_csv(path, rows):
    """Write `rows`, dicts with the same keys, as a CSV file, atomically; see `refuse_foreign`."""
    refuse_foreign(Path(path), rows[0])
    write_atomically(path, csv_text(rows).encode())


def grouped(rows, *columns):
    """{value of the column, or tuple of those of several: its rows}, in the order of the rows."""
    key, groups = operator.itemgetter(*columns), {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def read_csv(path, columns=(), size=None):
    """The rows of a CSV file as dicts: whole numbers as int, other numbers as float, True and False as bool,
    empty fields as None.

    `size`: read only that many bytes. Raises `InputError` for a file that is no table with at least one row, lacks one
    of `columns` or is damaged.
    """
    def value(field):
        for kind in (int, float):
            try:
                return kind(field)
            except ValueError:
                pass
        return {"True": True, "False": False}.get(field, field or None)

    try:
        text = Path(path).read_bytes()[:size].decode("utf-8-sig")
        names, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{display(path)} is not a CSV table: {error}") from None
    if missing := [name for name in columns if name not in names]:
        hint = "; are its fields separated by commas?" if len(names) == 1 else ""
        raise InputError(f"{display(path)} has no column {', '.join(missing)}{hint}")
    if len(set(names)) < len(names):
        raise InputError(f"{display(path)} has two columns of the same name")
    for k, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise InputError(f"line {k} of {display(path)} has {len(row)} fields, not {len(names)}: is it damaged?")
    if not rows:
        raise InputError(f"{display(path)} has no rows")
    return [dict(zip(names, map(value, row))) for row in rows]
