"""What scripts would write over, but did not make, is refused before the work begins."""
import importlib

import pytest


@pytest.mark.parametrize("script, names", [
    ("part1.sweep", "results.csv curves.csv accuracy.pdf accuracy.png"),
    ("part1.sweep --preset 2020D", "curves.png"),
    ("part1.grads_over_time", "gradients.csv gradients.pdf gradients.png"),
    ("part1.benchmark", "benchmark.csv memory.csv data.csv benchmark.pdf benchmark.png"),
    ("part2.study", "text.json curves.csv curves.pdf curves.png"),
    ("part1.evaluate --checkpoint missing.pt", "beyond.csv beyond.pdf beyond.png"),
    ("part1.look_inside", "traces.csv directions.csv states.csv"), ("part2.ngram", "ngram.csv"),
    ("part2.benchmark", "benchmark.csv"), ("part3.benchmark", "benchmark.csv")])
def test_a_foreign_file_is_refused_before_the_work(script, names, tmp_path, call):
    script, *flags = script.split()
    for name in names.split():
        for make in (lambda path: path.write_text("mine,yours\n1,2\n"), lambda path: path.mkdir()):
            output = tmp_path / f"{name} {len(list(tmp_path.iterdir()))}"
            output.mkdir()
            make(output / name)
            status, out, err = call(importlib.import_module(script), *flags, "--output", output)
            assert (status, out) == (2, "") and err.count("\n") == 1 and name in err
            assert [path.name for path in output.iterdir()] == [name]
