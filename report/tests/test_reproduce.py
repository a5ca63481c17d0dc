"""The main command and the figures: studies run once and end in figures, tables and answers; errors are one line."""
import shutil

import pytest

from part1 import run
from report import plots, reproduce, tables
from report.tests.conftest import make_results


@pytest.fixture
def preset(tmp_path, monkeypatch):
    """A preset of two studies, one that copies ready results and one that counts; returns the list of its runs."""
    ran = []
    ready = make_results(tmp_path / "ready", optional=False)
    content = run.read_json(ready / "text.json")
    content["result"] |= {"steps": 900, "accuracy": 0.6, "bits_per_character": 2.0}
    run.write_json(ready / "text.json", content)

    def copy(flags, work, results):
        ran.append((flags, work.name))
        for path in results:
            shutil.copyfile(ready / path.name, path)

    names = sorted(path.name for path in ready.iterdir())
    studies = [reproduce.Study("one", copy, "--seeds 0 1", names[:3]), reproduce.Study("two", copy, "", names[3:])]
    monkeypatch.setitem(reproduce.PRESETS, "quick", studies)
    monkeypatch.setenv("PATH", str(tmp_path))  # without LaTeX: test_build.py is about the PDF
    monkeypatch.setattr(plots, "FIGURES", {"text": plots.FIGURES["text"]})
    return ran


def test_studies_run_once_and_end_in_figures_tables_and_answers(preset, tmp_path, capsys):
    config = reproduce.parse_args([])
    config.work, config.folder = tmp_path / "work", tmp_path / "quick"
    reproduce.main(config)
    out = capsys.readouterr().out
    assert preset == [(["--seeds", "0", "1"], "gradients"), ([], "lengths")]
    assert (tmp_path / "quick" / "figures" / "text.pdf").exists()
    assert (tmp_path / "quick" / "generated" / "numbers.tex").read_text().count(r"\hasquicktrue") == 1
    assert "3 updates from C to E" in out and "4 updates from C to E" in out and "apt-get install latexmk" in out
    reproduce.main(config)
    assert len(preset) == 2 and "its results are there already" in capsys.readouterr().out
    (tmp_path / "quick" / "results" / "lengths.csv").unlink()
    reproduce.main(config)
    assert len(preset) == 3


def test_every_preset_makes_what_the_report_needs():
    for studies in reproduce.PRESETS.values():
        names = [name for study in studies for name in study.results]
        assert len(names) == len(set(names)) and set(tables.REQUIRED) <= set(names)


def test_tuned_gradients_start_from_each_networks_own_weights(tmp_path):
    reproduce.tuned_gradient_study("--seeds 0 --palindrome_length 8 --num_hidden 4 --batch_size 2".split(), tmp_path,
                                   [tmp_path / "gradients_tuned.csv"])
    rows = plots.read_csv(tmp_path / "gradients_tuned.csv")
    found = [(row["model_type"], row["input"], row["state"], row["t"]) for row in rows]
    assert len(found) == len(set(found)) and {model for model, *_ in found} == {"RNN", "LSTM", "PeepLSTM"}


def test_a_missing_book_names_the_command(monkeypatch):
    monkeypatch.setattr(reproduce, "local", lambda name: None)
    with pytest.raises(ValueError, match="python -m assets.download grimms"):
        reproduce.book_file("grimms")


def test_wrong_flags_are_one_line(call):
    status, out, err = call(reproduce, "--preset", "huge")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "Traceback" not in err


def test_figures_come_from_any_folder_of_results_and_old_ones_go(call, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "graph_2019.pdf").write_bytes(b"of an earlier version")
    results = make_results(tmp_path / "results", optional=False)
    (results / "gradients.csv").unlink()
    (results / "graph_2019.json").unlink()
    status, out, err = call(plots, "--results", results, "--figures", tmp_path / "figures")
    assert (status, err) == (0, "") and len(out.splitlines()) == 2
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(
        f"{name}.{kind}" for name in ("lengths", "text") for kind in ("pdf", "png"))


@pytest.mark.parametrize("content, message", [(None, "holds no results"), ("", "has no rows"),
                                              ("step,loss\n", "has no rows")])
def test_results_that_cannot_be_drawn_are_one_line(call, tmp_path, content, message):
    (tmp_path / "results").mkdir()
    if content is not None:
        (tmp_path / "results" / "text_curves.csv").write_text(content)
    status, out, err = call(plots, "--results", tmp_path / "results", "--figures", tmp_path / "figures")
    assert (status, out) == (2, "") and err.count("\n") == 1 and message in err


@pytest.mark.parametrize("name", ["lengths", "text", "graphs"])
def test_drawing_twice_gives_the_same_bytes(made_up, tmp_path, name):
    plots.FIGURES[name][1](plots.sources_of(name, made_up / "results"), tmp_path / name)
    for kind in (".pdf", ".png"):
        assert (tmp_path / (name + kind)).read_bytes() == (made_up / "figures" / (name + kind)).read_bytes()
