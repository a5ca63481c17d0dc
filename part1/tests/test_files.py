"""Files: whole or not there, read back as they were or refused, locked against other processes."""
import contextlib
import errno
import os
import resource
import signal

import pytest

from part1 import files
from part1.cli import InputError
from part1.tests.background import context


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_file_that_cannot_be_written_stays_what_it_was(call, error, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        files.write_atomically(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda *args: done.append("rename") or replace(*args))
    files.write_atomically(tmp_path / "file", b"new")
    assert done == [str(tmp_path / ".file.partial"), "rename", str(tmp_path)]


def test_a_folder_is_made_with_those_above_it_or_none_is(tmp_path):
    with pytest.raises(OSError):
        files.make_folder(tmp_path / "new" / "folder" / ("long" * 100))
    assert os.listdir(tmp_path) == []
    for _ in range(2):
        files.make_folder(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new") == ["folder"]


def test_where_the_current_folder_is_gone_a_path_is_shown_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.display(tmp_path / "run") == "run"
    tmp_path.rmdir()
    assert files.display(tmp_path / "run") == str(tmp_path / "run")


@pytest.mark.parametrize("content, ours", [
    ("a,b\n1,2\n", True), ("a\n1\n", True), ("a,b,c,d\n", True), ("mine\n", False), ("a,d\n", False),
    ("a;b;c\n", False)])
def test_a_table_replaces_only_one_with_its_columns(content, ours, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with contextlib.nullcontext() if ours else pytest.raises(InputError, match="t.csv would be replaced"):
        files.write_csv(path, [{"a": 1, "b": 2, "c": 3}])
    assert path.read_text() == ("a,b,c\n1,2,3\n" if ours else content)


def test_csv_and_json_come_back(tmp_path):
    rows = [{"a": 1, "b": None, "c": "x"}, {"a": 1e-7, "b": 0.1, "c": 'x,"y"\nz'}]
    files.write_csv(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_bytes() == b'a,b,c\n1,,x\n1e-07,0.1,"x,""y""\nz"\n'
    assert files.read_csv(tmp_path / "t.csv", columns=["c", "a"]) == rows
    files.write_json(tmp_path / "j.json", {"a": [1, None, 0.1]})
    assert files.read_json(tmp_path / "j.json") == {"a": [1, None, 0.1]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_what_is_not_json_is_refused(content, tmp_path):
    (tmp_path / "j.json").write_bytes(content)
    with pytest.raises(InputError, match="j.json is not JSON"):
        files.read_json(tmp_path / "j.json")


@pytest.mark.parametrize("content, fault", [
    (b"", "no column a, b"), (b"a,a,b\n1,2,3\n", "two columns"), (b"a;b\n1;2\n", "separated by commas"),
    (b"a,b\n1,\"2\n", "not a CSV table"), (b"\xff\xfe\n\xff\n", "not a CSV table"),
    (b"a,b\n", "no rows"), (b"a,c\n1,2\n", "no column b"), (b"a,b\n1,2\n3\n", "line 3 .* has 1 fields, not 2"),
    (b"a,b\n1,2,3\n", "line 2 .* has 3 fields, not 2")])
def test_what_is_no_whole_table_is_refused(content, fault, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=fault) as refused:
        files.read_csv(tmp_path / "t.csv", columns=["a", "b"])
    assert "t.csv" in str(refused.value)


def test_a_path_is_shown_from_here_but_what_follows_a_link_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.display(tmp_path / "a" / "b") == "a/b" and files.display("link/../b") == "link/../b"


# A file that a run appends to

@pytest.fixture
def appended(tmp_path):
    """A file of two lines, as its run left it."""
    log = files.Appended(tmp_path / "log")
    log.append("one\n")
    log.append("two: ↵\n")
    return log


def test_what_was_appended_goes_on_and_the_rest_is_cut(appended):
    whole = appended.path.read_bytes()
    for cut in (lambda log: log.sync(cut=True), lambda log: log.append("")):
        appended.path.write_bytes(whole + b"three\nfo")
        log = files.Appended(appended.path, appended.state())
        assert log.state() == appended.state() and appended.path.read_bytes() == whole + b"three\nfo"
        cut(log)
        assert appended.path.read_bytes() == whole


def test_a_dropped_row_is_gone_after_the_cut(appended):
    appended.append("three\n")
    whole, rest = appended.path.read_bytes(), "one\ntwo: ↵\n".encode()
    appended.drop_row()
    assert files.Appended(appended.path, appended.sync()).size == len(rest)  # a checkpoint may be saved before the cut …
    assert appended.path.read_bytes() == whole
    assert files.Appended(appended.path, appended.sync(cut=True)).size == len(rest)  # … and is right after it too
    assert appended.path.read_bytes() == rest


def test_with_its_only_row_a_table_loses_its_header(appended):
    appended.drop_row()
    assert appended.size == 0
    files.Appended(appended.path, appended.sync()).append("one\nthree\n")
    assert appended.path.read_bytes() == b"one\nthree\n"


def test_any_change_of_what_was_appended_is_refused(appended):
    whole, state = appended.path.read_bytes(), appended.state()
    for changed in [whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1:] for k in range(len(whole))] + [b"", whole[:-1]]:
        appended.path.write_bytes(changed)
        with pytest.raises(InputError, match="log does not begin with what the last checkpoint says"):
            files.Appended(appended.path, state)
    appended.path.unlink()
    with pytest.raises(InputError, match="log does not begin"):
        files.Appended(appended.path, state)


@pytest.mark.parametrize("room", [0, 2])
def test_a_line_that_does_not_fit_is_not_there_at_all(room, appended):
    whole, state = appended.path.read_bytes(), appended.state()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + room, limit[1]))
    try:
        with pytest.raises(OSError, match="No space left|File too large"):
            appended.append("three\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert appended.path.read_bytes() == whole and appended.state() == state


# Lock

def hold(folder, ready):
    with files.locked(folder):
        ready.set()
        signal.pause()


def test_the_lock_dies_with_its_process(tmp_path):
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(files.Busy, match="another process is at work"), files.locked(tmp_path):
            pass
        with files.locked(tmp_path, "another lock"):
            pass
    finally:
        process.kill()
        process.join()
    with files.locked(tmp_path), pytest.raises(InputError, match="another process"), files.locked(tmp_path):
        pass
    with files.locked(tmp_path):
        pass
