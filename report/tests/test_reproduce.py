"""The main command and the figures: studies run once and end in figures, tables and answers; errors are one line."""
import shutil

import pytest

from part1 import cli, run
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


# Cells

TINY = ("--model_type RNN --palindrome_lengths 4 --seeds 0 1 --num_hidden 3 --batch_size 4 --eval_size 20 "
        "--train_steps 4 --eval_every 2 --device cpu")


@pytest.fixture
def cells(preset, tmp_path, monkeypatch):
    """The preset in a folder of its own, with a sweep of two cells between its studies; returns the results' folder."""
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    reproduce.PRESETS["quick"].insert(1, reproduce.Study("sweep", reproduce.sweep_study, TINY, ["naive.csv"]))
    return tmp_path / "runs" / "quick" / "results"


def test_a_cell_keeps_its_number_when_others_are_done(cells, preset, call):
    assert call(reproduce, "--list_cells")[:2] == (
        0, "   0 gradients\n   1 naive/cells/RNN_T4_seed0\n   2 naive/cells/RNN_T4_seed1\n   3 lengths\n")
    assert not cells.exists()
    for cell in (0, 2, 2, 0):
        assert call(reproduce, "--cell", cell) == (0, "", "")
    assert preset == [(["--seeds", "0", "1"], "gradients")]
    assert call(reproduce, "--list_cells")[1] == "   1 naive/cells/RNN_T4_seed0\n   3 lengths\n"
    assert call(reproduce, "--cell", 1) == (0, "", "") and call(reproduce, "--cell", 3) == (0, "", "")
    assert not (cells / "naive.csv").exists()  # that is for the job which collects
    status, out, err = call(reproduce)
    assert (status, err) == (0, "") and (cells / "naive.csv").exists() and out.count("are there already") == 2
    assert call(reproduce, "--list_cells") == (0, "", "")


def test_a_study_that_another_process_has_at_work_is_left_to_it(cells, preset, call, tmp_path):
    work = tmp_path / "runs" / "quick" / "work" / "lengths"
    work.mkdir(parents=True)
    with run.locked(work):
        status, out, err = call(reproduce, "--cell", 3)
    assert (status, err, preset) == (0, "", []) and "another process is at work in" in out


def test_the_missing_cells_go_to_slurm(cells, call, tmp_path):
    for cell in (0, 1):
        call(reproduce, "--cell", cell)
    (tmp_path / "sbatch").write_text(f"#!/bin/sh\necho $* >> {tmp_path}/calls\necho 7\n")
    (tmp_path / "sbatch").chmod(0o755)
    status, out, err = call(reproduce, "--slurm", "--time", 30)
    assert (status, err) == (0, "") and out.startswith("job 7 runs 2 cells, then job 7 collects them")
    assert (tmp_path / "calls").read_text() == "--parsable cells.sh\n--parsable --dependency=afterany:7 collect.sh\n"
    folder = tmp_path / "runs" / "quick" / "work" / "slurm"
    job = (folder / "cells.sh").read_text()
    assert "#SBATCH --array=2-3\n" in job and "#SBATCH --time=30\n" in job
    assert '-m report.reproduce --preset quick --cell "$SLURM_ARRAY_TASK_ID" &\n' in job
    assert "-m report.reproduce --preset quick &\n" in (folder / "collect.sh").read_text()


def test_a_missing_book_is_an_error_before_anything_is_submitted(cells, preset, call, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "local", lambda name: None)
    reproduce.PRESETS["quick"].append(reproduce.Study("text", reproduce.text_study, "", ["text_2.json"], book="darwin"))
    for flags in (["--slurm", "--dry_run"], ["--cell", 4]):
        status, out, err = call(reproduce, *flags)
        assert (status, out) == (2, "") and err.endswith("get it with: python -m assets.download darwin\n")
    assert call(reproduce, "--list_cells")[1].endswith("   4 text_2\n")
    assert not (tmp_path / "runs" / "quick" / "work" / "slurm").exists() and preset == []


def test_every_cell_of_the_full_study_has_a_name_of_its_own(tmp_path):
    names = [name for study in reproduce.FULL for name, _, _ in study.cells(tmp_path, tmp_path)]
    assert len(names) == len(set(names)) and {"text", "gradients", "lengths/cells/RNN_T5_seed0"} <= set(names)
    assert sum(name.startswith("optimizers/Adam_0.001/cells/") for name in names) == 3


@pytest.mark.parametrize("flags, hint", [
    (["--cell", 4], "0 … 3"), (["--cell", -1], "not -1"), (["--dry_run"], "is for --slurm"),
    (["--slurm", "--cell", 1], "not allowed with"), (["--slurm", "--time", "soon"], "not 'soon'"),
    (["--slurm"], "there is no sbatch here")])
def test_wrong_flags_about_cells_are_one_line(cells, call, tmp_path, flags, hint):
    status, out, err = call(reproduce, *flags)
    assert (status, out) == (2, "") and err.count("\n") == 1 and hint in err
    assert not (tmp_path / "runs").exists()


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
