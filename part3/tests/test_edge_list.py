"""The edge-list reader against a reader of one line at a time, and what it refuses."""
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from part1.cli import InputError
from part3.edge_list import in_order, read_edge_list

PARTS = st.text(st.sampled_from("aAzé0127_𝔸ñก็"), min_size=1, max_size=6)
NAMES = st.lists(PARTS, min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([".", "-", "://", "@", "'"]).map(lambda joint: joint.join(parts)))


def pairs_of(lists):
    names = lists.names
    return {(names[i], names[j]) for i in range(len(names)) for j in lists.indices[lists.indptr[i]:lists.indptr[i + 1]]}


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from([" ", " \t "]), st.sampled_from(["\n", "\r\n", " \n\n"])),
                min_size=1), st.booleans())
def test_reads_what_was_written(tmp_path_factory, rows, last_newline):
    text = "".join(left + gap + right + end for left, right, gap, end in rows)
    lists = read_edge_list(write(tmp_path_factory.getbasetemp() / "e", text if last_newline else text.rstrip()))
    assert sorted(lists.names) == sorted({name for row in rows for name in row[:2]})
    expected = {pair for left, right, *_ in rows for pair in ((left, right), (right, left)) if left != right}
    assert pairs_of(lists) == expected


def test_comments_marks_loops_and_duplicates(tmp_path):
    file = write(tmp_path / "e", "\ufeff# from to\n  % sym: one two three\nC b\nb C\n\nisland island\n")
    lists = read_edge_list(file)
    assert lists.names == ["C", "b", "island"] and pairs_of(lists) == {("C", "b"), ("b", "C")}


def test_a_pipe_is_as_good_as_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("\ufeffa b\nb c\n",))
    writer.start()
    lists = read_edge_list(tmp_path / "pipe")
    writer.join()
    assert lists.names == ["a", "b", "c"] and len(lists.indices) == 4


def test_a_heading_is_no_edge_and_an_accent_is_typed_in_two_ways(tmp_path):
    with pytest.raises(InputError, match="^line 2 "):
        read_edge_list(write(tmp_path / "e", "# x\nSource\tTarget\nC\tD\n"))
    assert read_edge_list(write(tmp_path / "e", "C \u00e9\ne\u0301 D\nsource target\n")).names == [
        "C", "D", "source", "target", "\u00e9"]


def test_numbers_are_in_order_of_value(tmp_path):
    lists = read_edge_list(write(tmp_path / "e", "10 9\n9 -1\n"))
    assert lists.names == ["-1", "9", "10"] and pairs_of(lists) == {("10", "9"), ("9", "10"), ("9", "-1"), ("-1", "9")}
    assert in_order({"10", "9", "x"}) == ["10", "9", "x"]


@pytest.mark.parametrize("line", [
    "b", "b c d", "b c 0.5", "C, D", "C,D", "C ,D", "C; D", "C -> D", "C ->D", "C →D", "C -- D", "<-C D", "C| D",
    '"C" "D"', "C\0 D", "c\xa0d e", "C: D", "C :D", "(C D)", "[C D]", "C- D", "C –D", "C— D", "C= D", "C #", "C ⇒D",
    "// C", "! C", "*Vertices 2", "C\u200b D",
])
def test_other_lines_are_refused_with_their_number(tmp_path, line):
    with pytest.raises(InputError, match="^line 1004 of .*/e: expected two names separated by white space, not '"):
        read_edge_list(write(tmp_path / "e", "a b\r\n" * 1000 + "# x\n\n\t\n" + line + "\na b\n"))


@pytest.mark.parametrize("content, says", [
    (b"a b\nc \xff\n", "not UTF-8 text"), (b"# nothing\n\n", "holds no edge"), (b"", "holds no edge"),
])
def test_files_of_another_kind(tmp_path, content, says):
    with pytest.raises(InputError, match=says):
        read_edge_list(write(tmp_path / "e", content))
