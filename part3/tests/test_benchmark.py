"""The benchmark's small run: its table is complete, its graphs are what they say, and it needs no other library."""
import csv
import json
import sys

import numpy as np
import pytest

from part1 import cli
from part3 import benchmark


def run(*argv):
    return cli.main(benchmark.parse_args, benchmark.main, list(map(str, argv)))


@pytest.mark.parametrize("shape, nodes, edges, levels", [("random", 200, None, None), ("grid", 196, 364, 26),
                                                         ("chain", 200, 199, 199)])
def test_a_small_run_writes_its_table(tmp_path, capsys, monkeypatch, shape, nodes, edges, levels):
    for name in ("scipy", "scipy.sparse", "networkx"):
        monkeypatch.setitem(sys.modules, name, None)
    assert run("--nodes", 200, "--shape", shape, "--repeats", 2, "--output", tmp_path / "new") == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["SciPy is not installed: left out", "networkx is not installed: left out"]
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["benchmark.csv", "benchmark.json"]
    row, = csv.DictReader((tmp_path / "new" / "benchmark.csv").read_text().splitlines())
    saved = json.loads((tmp_path / "new" / "benchmark.json").read_text())
    assert saved["config"]["nodes"] == [200] and saved["rows"][0]["nodes"] == int(row["nodes"]) == nodes
    assert float(row["search_s"]) > 0 and float(row["read_s"]) > 0 and row["scipy_s"] == row["networkx_ratio"] == ""
    assert int(row["edges"]) == edges if edges else 950 < int(row["edges"]) <= 1000
    assert levels is None or int(row["levels"]) == levels
    assert out.splitlines()[1].split()[:2] == [str(nodes), f"{int(row['edges']):,}"]


def test_rivals_count_the_same_hops():
    scipy, networkx = pytest.importorskip("scipy"), pytest.importorskip("networkx")
    assert scipy and networkx
    graph = benchmark.compress(np.random.default_rng(0).integers(300, size=(500, 2)), range(300))
    distance, _ = benchmark.breadth_first(graph, 0)
    searches = benchmark.rivals(graph, 1)
    assert searches["networkx"]() == {i: hops for i, hops in enumerate(distance.tolist()) if hops >= 0}
    order, _ = searches["scipy"]()
    assert sorted(order.tolist()) == np.flatnonzero(distance >= 0).tolist()
    assert (np.diff(distance[order]) >= 0).all()


def test_peak_counts_what_a_call_allocates():
    assert benchmark.peak_bytes(lambda: np.ones(10**6)) == pytest.approx(8e6, rel=0.01)


@pytest.mark.parametrize("argv, says", [
    (["--nodes", "1"], "at least 2"), (["--nodes", "x"], "'x'"), (["--repeats", "0"], "at least 1"),
    (["--shape", "star"], "invalid choice"), (["--networkx_repeats", "-1"], "at least 0"),
])
def test_wrong_flags_are_one_line(capsys, tmp_path, argv, says):
    with pytest.raises(SystemExit) as stop:
        run(*argv, "--output", tmp_path / "new")
    err = capsys.readouterr().err
    assert stop.value.code == 2 and says in err and err.count("\n") == 1 and not (tmp_path / "new").exists()


def test_an_output_that_is_a_file_is_one_line(capsys, tmp_path):
    (tmp_path / "taken").write_text("keep")
    assert run("--nodes", 10, "--output", tmp_path / "taken") == 2
    assert capsys.readouterr().err.count("\n") == 1 and (tmp_path / "taken").read_text() == "keep"
