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
