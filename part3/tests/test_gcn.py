"""`python -m part3.gcn` as its users meet it: what is printed, what is drawn, and every way to be wrong in one line."""
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from part1 import files
from part3 import drawing, gcn
from part3.graph import EDGES, NODES, breadth_first, neighbour_lists, spread
from part3.tests.test_graph import A_TILDE_2019, A_TILDE_2020


def matrix_after(title, text, rows=6):
    """The numbers of the printed matrix under the line that starts with `title`, and its row names."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(title)) + 1
    body = [line.split() for line in lines[start + 1:start + 1 + rows]]
    assert lines[start].split() == [row[0] for row in body]
    return np.array([[float(x) for x in row[1:]] for row in body]), "".join(row[0] for row in body)


@pytest.mark.parametrize("argv, updates, paths, degrees, expected", [
    ((), 3, ("C - D - F - E", "C - B - A - E"), "4, 4, 3, 4, 3, 4", A_TILDE_2019),
    (("--edition", "2020"), 4, ("C - D - B - A - E", "C - D - F - A - E"), "4, 3, 2, 4, 2, 3", A_TILDE_2020),
])
def test_both_editions_as_printed(call, argv, updates, paths, degrees, expected):
    status, out, err = call(gcn, *argv)
    assert (status, err) == (0, "")
    assert f"updates from C to E: {updates}\n" in out
    assert re.search("a shortest path: (.*)", out)[1] in paths
    assert f"D = diag({degrees})" in out
    A_tilde, names = matrix_after("Atilde", out)
    A_hat, _ = matrix_after("Ahat", out)
    assert names == NODES
    np.testing.assert_array_equal(A_tilde, expected)
    assert "update 2: B C D F\n  update 3: A B C D F\n" in out or updates == 3
    root = np.diag(1 / np.sqrt([int(d) for d in degrees.split(", ")]))
    np.testing.assert_allclose(A_hat, root @ A_tilde @ root, atol=5.1e-5)


@pytest.mark.parametrize("edition, updates, A_tilde", [("2019", 3, A_TILDE_2019), ("2020", 4, A_TILDE_2020)])
def test_answers(edition, updates, A_tilde):
    answers, A_tilde = gcn.answers(edition), np.array(A_tilde)
    np.testing.assert_array_equal(answers["Atilde"], A_tilde)
    np.testing.assert_array_equal(answers["D"], A_tilde.sum(axis=0))
    np.testing.assert_allclose(answers["Ahat"], A_tilde / np.sqrt(np.outer(answers["D"], answers["D"])))
    assert (answers["updates"], len(answers["path"]), answers["nodes"]) == (updates, updates + 1, list("ABCDEF"))


def test_a_graph_of_ones_own(call):
    status, out, err = call(gcn, "--edges", "x10-x2, x2 – New York,y-y,New York-x2", "--source", "x10",
                           "--target", "New York")
    assert (status, err) == (0, "")
    assert "4 nodes, 2 edges" in out
    assert "updates from x10 to New York: 2\na shortest path: x10 - x2 - New York\n" in out


def test_no_path_is_an_answer_in_one_line(call):
    status, out, err = call(gcn, "--edges", "C-D,E-F")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "updates from C to E: none will do, no path joins them"


def test_large_edge_list_leaves_the_matrices_out_and_says_so(call, tmp_path):
    file = tmp_path / "chain.txt"
    file.write_text("".join(f"{i} {i + 1}\n" for i in range(30)))
    status, out, err = call(gcn, "--edge_list", file, "--source", 1, "--target", 28)
    assert (status, err) == (0, "")
    assert "31 nodes, 30 edges" in out and "left out" in out and "eq 15" not in out
    assert "updates from 1 to 28: 27" in out and out.rstrip().endswith(" - ".join(map(str, range(1, 29))))
    listed = re.findall(r"update (\d+): (\d+) node", out)
    assert len(listed) == gcn.SHOWN and listed[0] == ("0", "1") and listed[-1] == ("27", "29")
    matrix, names = matrix_after("Atilde", call(gcn, "--edge_list", file, "--source", 1, "--target", 28,
                                               "--matrix_nodes", 31)[1], rows=31)
    assert names == "".join(map(str, range(31))) and matrix.sum() == 31 + 60


def draw(edges, nodes, source, target, path):
    graph = neighbour_lists(edges, nodes)
    distance, _ = spread(graph, source, target)
    return drawing.draw_updates(graph, distance, gcn.milestones(distance.max()), target, path)


def test_figures(tmp_path, call):
    status, out, _ = call(gcn, "--edition", "2020", "--figure", tmp_path / "new" / "spread.v2.pdf")
    assert status == 0 and sorted(f.name for f in (tmp_path / "new").iterdir()) == ["spread.v2.pdf", "spread.v2.png"]
    assert f"figure: {tmp_path}/new/spread.v2.png and spread.v2.pdf" in out


def test_a_name_is_no_formula(tmp_path):
    ring = [("$\\x$", 1), *((i, i + 1) for i in range(1, 5)), (5, "$\\x$")]
    assert draw(ring, ["$\\x$", *range(1, 6)], 1, 2, tmp_path / "ring") == tmp_path / "ring.png"


@pytest.mark.parametrize("edges, nodes, panels", [
    (EDGES["2020"], NODES, [("C", "", "ABDEF", 0), ("D", "C", "ABEF", 1), ("BF", "CD", "AE", 2), ("A", "BCDF", "E", 2),
                            ("E", "ABCDF", "", 1)]),
    ([("C", "x"), ("x", "y"), ("C", "y")], "CExyz", [("C", "", "Exyz", 0), ("xy", "C", "Ez", 2)]),
])
def test_panels_colour_what_the_update_reaches(tmp_path, monkeypatch, edges, nodes, panels):
    """Panel by panel: the nodes reached by this update, before and not yet, and the number of edges it used."""
    drawn = []

    def keep(figure, path, sources=()):
        style = drawing.style
        for axes in filter(lambda axes: axes.get_title(), figure.axes):
            names = [text.get_text() for text in axes.texts]
            marks = [line for line in axes.lines if line.get_marker() == "o"]
            fills = [[name for name, mark in zip(names, marks, strict=True) if mark.get_markerfacecolor() == fill]
                     for fill in (style.ORANGE, style.SKY, "white")]
            assert axes.get_title() == f"update {len(drawn)}"
            used = [line for line in axes.lines if line not in marks and line.get_color() == style.VERMILION]
            drawn.append((*map("".join, fills), len(used)))

    monkeypatch.setattr(drawing.style, "save", keep)
    draw(edges, nodes, "C", "E", tmp_path / "x")
    assert drawn == panels


def test_nodes_stand_in_columns_by_distance_and_apart():
    lists = neighbour_lists([(i, (i - 1) // 2) for i in range(1, 31)] + [(40, 41)], [*range(31), 40, 41])
    x, (distance, _) = drawing.positions(lists, 0), breadth_first(lists, 0)
    np.testing.assert_array_equal(np.floor(x[:, 0]), np.where(distance < 0, 5, distance))
    assert (np.linalg.norm(x[:, None] - x, axis=2) + np.eye(33)).min() > 0.1
    for level in range(1, 5):  # a tree is drawn without crossings: children in the order of their parents
        children = [k for k in np.argsort(x[:31, 1]) if distance[k] == level]
        assert [x[(k - 1) // 2, 1] for k in children] == sorted(x[(k - 1) // 2, 1] for k in children)


@pytest.mark.parametrize("argv, says", [
    (["--edges", "A-B,B"], "edge 2 must be two names such as A-B, not 'B'"),
    (["--edges", "C-D,D->E"], "edge 2 must be two names such as A-B, not 'D->E'"),
    (["--edges", "C→D"], "edge 1"), (["--edges", "C--D"], "edge 1"), (["--edges", "C-D;D-E"], "edge 1"),
    (["--edges", "C D"], "edge 1"), (["--edges", "A-B,"], "edge 2"), (["--edges", ""], "edge 1"),
    (["--edges", "A-B", "--edition", "2020"], "not allowed with argument"),
    (["--source", "Z"], "no node 'Z' in the graph; its 6 nodes are A, B, C, D, E, F"),
    (["--matrix_nodes", "1001"], "must be a whole number at least 0 and at most 1000, not 1001"),
    (["--edge_list", "missing.txt"], "No such file or directory: missing.txt"),
    (["--edge_list", "bad.txt"], "line 3 of bad.txt: expected two names separated by white space, not 'x y z'"),
    (["--edge_list", "big.txt", "--source", "0", "--target", "1", "--figure", "out"],
     "a figure shows up to 60 nodes, and this graph has 61"),
    (["--figure", ""], "must name a file"), (["--figure", ".png"], "cannot be written"), (["--figure", "taken.pdf"], "taken.png exists but was not made here"),
    (["--figure", "bad.txt/x"], "bad.txt"),
])
def test_wrong_input_is_one_line_and_writes_nothing(call, tmp_path, monkeypatch, argv, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.txt").write_text("a b\n\nx y z\n")
    (tmp_path / "big.txt").write_text("".join(f"{i} {i + 1}\n" for i in range(60)))
    (tmp_path / "taken.png").mkdir()
    status, out, err = call(gcn, *argv)
    assert (status, out) == (2, "")
    assert says in err and err.count("\n") == 1 and err.endswith("\n")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.txt", "big.txt", "taken.png"]


def test_runs_as_a_file_without_torch_or_matplotlib(tmp_path):
    """A path that shadows both proves that nothing but NumPy is needed for the answer."""
    for name in ("torch", "matplotlib", "scipy", "networkx"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not needed')")
    done = subprocess.run([sys.executable, str(files.ROOT / "part3" / "gcn.py"), "--edition", "2020"], cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "updates from C to E: 4" in done.stdout
