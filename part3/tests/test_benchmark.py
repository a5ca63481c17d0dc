"""The benchmark's small run: its table is complete, its graphs are what they say, and it needs no other library."""
import sys

import numpy as np
import pytest

from part1 import cli, files
from part3 import benchmark


def test_a_small_run_writes_its_table(tmp_path, capsys, monkeypatch):
    for name in ("scipy", "scipy.sparse", "networkx"):
        monkeypatch.setitem(sys.modules, name, None)
    argv = ["--nodes", "200", "--repeats", "2", "--output", str(tmp_path / "new")]
    assert cli.main(benchmark.parse_args, benchmark.main, argv) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["scipy is not installed: left out", "networkx is not installed: left out"]
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["benchmark.csv"]
    row, = files.read_csv(tmp_path / "new" / "benchmark.csv")
    assert row["nodes"] == 200 and 950 < row["edges"] <= 1000 and row["ours_s"] > 0 and row["read_s"] > 0
    assert f"edges {row['edges']}" in " ".join(out.split())


def test_a_table_beside_other_rivals_and_a_graph_without_edges_may_follow(tmp_path, monkeypatch):
    for name in ("networkx", "scipy"):  # as if only the one were installed, then only the other
        monkeypatch.setattr(benchmark, "RIVALS", {
            rival: (lambda graph: lambda: None) if rival == name else lambda graph: __import__("not installed")
            for rival in benchmark.RIVALS})
        argv = ["--nodes", "2", "--edges_per_node", "1", "--seed", "4", "--repeats", "1", "--output", str(tmp_path)]
        assert cli.main(benchmark.parse_args, benchmark.main, argv) == 0
        row, = files.read_csv(tmp_path / "benchmark.csv")
        assert row["edges"] == 0 and {rival: row[f"{rival}_s"] is not None for rival in benchmark.RIVALS} == {
            rival: rival == name for rival in benchmark.RIVALS}


@pytest.mark.parametrize("name", benchmark.RIVALS)
def test_rivals_reach_the_same_nodes_in_as_many_hops(name):
    pytest.importorskip(name)
    graph = benchmark.compress(np.random.default_rng(0).integers(300, size=(500, 2)), range(300))
    distance, _ = benchmark.breadth_first(graph, 0)
    result = benchmark.RIVALS[name](graph)()
    if name == "networkx":
        assert result == {i: hops for i, hops in enumerate(distance.tolist()) if hops >= 0}
    else:
        order, _ = result
        assert sorted(order.tolist()) == np.flatnonzero(distance >= 0).tolist()
        assert (np.diff(distance[order]) >= 0).all()
