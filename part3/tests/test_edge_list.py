"""The edge-list reader against a reader of one line at a time."""
import os
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from part3 import edge_list
from part3.edge_list import in_order, read_edge_list
from part3.graph import neighbour_lists

WORDS = st.text(st.sampled_from("aAzé0127_.,;-→𝔸"), min_size=1, max_size=20)


def pairs_of(lists):
    names = lists.names
    return {(names[i], names[j]) for i in range(len(names)) for j in lists.indices[lists.indptr[i]:lists.indptr[i + 1]]}


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, st.sampled_from([" ", " \t "]), st.sampled_from(["\n", "\r\n", " \n\n"]))),
       st.sampled_from([1, 7, 64, 1 << 22]), st.booleans())
def test_reads_what_was_written(tmp_path_factory, rows, block, last_newline):
    text = "".join(left + gap + right + end for left, right, gap, end in rows)
    file = write(tmp_path_factory.getbasetemp() / "edges.txt", text if last_newline else text.rstrip())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_list, "BLOCK", block)
        lists = read_edge_list(file)
    assert sorted(lists.names) == sorted({name for row in rows for name in row[:2]})
    expected = {pair for left, right, *_ in rows for pair in ((left, right), (right, left)) if left != right}
    assert pairs_of(lists) == expected


def test_same_as_neighbour_lists_on_a_larger_graph(tmp_path):
    draw = random.Random(0)
    edges = [(str(draw.randrange(5000)), "node-with-a-long-name-%d" % draw.randrange(300)) for _ in range(20000)]
    names = sorted({name for edge in edges for name in edge})
    lists = read_edge_list(write(tmp_path / "e", "\n".join(map(" ".join, edges))))
    expected = neighbour_lists(edges, names)
    assert lists.names == names
    assert lists.indptr.tolist() == expected.indptr.tolist() and lists.indices.tolist() == expected.indices.tolist()


def test_comments_marks_loops_and_duplicates(tmp_path):
    file = write(tmp_path / "e", "\ufeff# from to\n  # again: one two three\nC# b\nb C#\n\nisland island\n")
    lists = read_edge_list(file)
    assert lists.names == ["C#", "b", "island"] and pairs_of(lists) == {("C#", "b"), ("b", "C#")}


def test_a_pipe_is_as_good_as_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("\ufeffa b\nb c\n",))
    writer.start()
    lists = read_edge_list(tmp_path / "pipe")
    writer.join()
    assert lists.names == ["a", "b", "c"] and len(lists.indices) == 4


def test_numbers_are_in_order_of_value():
    assert in_order({"10", "9", "-1"}) == ["-1", "9", "10"]
    assert in_order({"10", "9", "x"}) == ["10", "9", "x"]


@pytest.mark.parametrize("text, says", [
    ("a b\nb c d\n", "line 2 of .*: expected two names, found 3 in 'b c d'"),
    ("a b\n\n# x\nb\nc d e f\n", "line 4 of .*: expected two names, found 1 in 'b'"),
    ("a b\nc", "line 2 of .*found 1"),
    ("a\nb c d\n", "line 1 of .*found 1"),
    (b"a b\nc \xff\n", "not UTF-8 text"),
    (b"\x89PNG\0\0\0 x\n", "not a text file"),
    ("a b\n" + "x" * 256 + " y\n", "line 2 of .*: a name of 256 bytes"),
    ("a \x1b[31m c\n", r"line 1 of .*found 3 in 'a \\x1b\[31m c'"),
])
def test_malformed_files(tmp_path, text, says):
    with pytest.raises(ValueError, match=says):
        read_edge_list(write(tmp_path / "edges.txt", text))


@pytest.mark.parametrize("block", [1, 5, 1 << 22])
def test_the_line_number_counts_over_blocks(tmp_path, monkeypatch, block):
    monkeypatch.setattr(edge_list, "BLOCK", block)
    file = write(tmp_path / "e", "a b\n" * 1000 + "# comment\r\n" + "only\n" + "a b\n" * 10)
    with pytest.raises(ValueError, match="^line 1002 of"):
        read_edge_list(file)


def test_the_longest_name_allowed_is_read_whole(tmp_path):
    assert read_edge_list(write(tmp_path / "e", "a " + "x" * 255)).names == ["a", "x" * 255]


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        read_edge_list(tmp_path / "missing")
