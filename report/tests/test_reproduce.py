"""The main command at tiny sizes: studies run once, go on, and end in a page; the presets are what they were."""
import dataclasses
import importlib
import os
import re
import shlex
import signal
import time

import pytest

from assets import download
from part1 import cli, files, grads_over_time, sweep
from part2 import train_text
from report import plots, reproduce, studies

pytestmark = pytest.mark.usefixtures("no_rendering")
TINY = ("--preset naive --model_type RNN --palindrome_lengths 4 --num_hidden 3 --batch_size 4 --eval_size 20 "
        "--train_steps 4 --eval_every 2 --device cpu --seeds 0")

TEXT = ("--train_steps 3 --batch_size 4 --seq_length 5 --lstm_num_hidden 4 --eval_fraction 0.01 --device cpu "
        "--sample_every 1")


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A quick preset of tiny studies, in a folder of the test's."""
    preset = reproduce.Preset([
        studies.GRAPHS[0],
        studies.sweep_study("lengths", "a sweep", f"{TINY} 1"),
        studies.Study("gradients", {"gradients.csv": "gradients.csv"},
                      "part1.grads_over_time --seeds 0 --palindrome_length 8 --num_hidden 4"),
        studies.text("text", "a text", "--train_steps 3 --batch_size 4 --seq_length 5 --lstm_num_hidden 4 "
                     "--eval_fraction 0.01 --device cpu", ["The fox"]),
    ], tmp_path / "work", tmp_path / "quick" / "results")
    monkeypatch.setitem(reproduce.PRESETS, "quick", preset)
    return preset


def page_of(preset):
    return preset.results.with_name("index.html").read_text()


def test_studies_run_once_and_end_in_results_figures_a_page_and_answers(quick, call):
    for cell in (1, 2):  # here, not in processes of their own, which take seconds to start
        call(reproduce, "--cell", cell)
    status, out, err = call(reproduce)
    assert (status, err) == (0, "")
    assert re.search("RNN +4 +2", out) and "updates from C to E: 3" in out and "10 beams, log-probability" in out
    assert {path.name for path in quick.results.iterdir()} - {".lock"} == {
        "graph_2019.json", "lengths.csv", "gradients.csv", "text.json", "text_curves.csv"}
    assert "All 4 studies are done" in page_of(quick) and page_of(quick).count("data:image/png") == 4
    assert call(reproduce)[1].count("are there already") == 4
    (quick.results / "graph_2019.json").unlink()
    assert call(reproduce)[1].count("are there already") == 3 and (quick.results / "graph_2019.json").exists()


def test_cells_run_one_by_one_and_are_collected_when_all_are_done(quick, call):
    names = ["graph_2019", "lengths/cells/RNN_T4_seed0", "lengths/cells/RNN_T4_seed1", "gradients", "text"]
    assert call(reproduce, "--list_cells")[:2] == (0, "".join(f"{k:4} {name}\n" for k, name in enumerate(names)))
    assert not quick.work.exists() and not quick.results.exists()
    for cell in (0, 2, 2):
        assert call(reproduce, "--cell", cell)[::2] == (0, "")
    done = [line.split()[0] for line in call(reproduce, "--list_cells")[1].splitlines() if line.endswith("(done)")]
    assert done == ["0", "2"]
    status, out, err = call(reproduce, "--collect")
    assert (status, err) == (0, "") and out.count("is not done yet") == 3
    assert "1 of 4 studies are done" in page_of(quick)
    assert call(reproduce, "--cell", 1) == (0, "", "") and not (quick.results / "lengths.csv").exists()
    assert call(reproduce, "--collect")[1].count("is not done yet") == 2
    assert [row["seed"] for row in files.read_csv(quick.results / "lengths.csv")] == [0, 1]
    assert "2 of 4 studies are done" in page_of(quick)


@pytest.mark.parametrize("path, content, message", [
    ("quick/results/graph_2019.json", "null", "graph_2019.json has no edition, nodes"),
    ("quick/results/graph_2019.json", "{", "graph_2019.json is not JSON"),
    ("work/graph_2019/seconds.json", "NaN", "seconds.json must be a number, not 'nan'")])
def test_a_damaged_result_is_one_line(quick, call, tmp_path, path, content, message):
    assert call(reproduce, "--cell", 0)[0] == 0
    (tmp_path / path).write_text(content)
    status, out, err = call(reproduce, "--collect")
    assert status == 2 and err.count("\n") == 1 and message in err


class Stub(studies.Study):
    """A study that writes one file and raises what `errors` holds for it the first time."""

    errors = {}

    def make(self, work):
        files.write_csv(work / "stub.csv", [{"of": self.name}])
        time.sleep(0.02)
        if self.name in self.errors:
            raise self.errors.pop(self.name)


def test_an_interrupted_study_goes_on_and_its_time_adds_up(tmp_path, monkeypatch, call):
    one, two = (Stub(name, {f"{name}.csv": "stub.csv"}, "") for name in ("one", "two"))
    Stub.errors["two"] = cli.Interrupted("saved", signal.SIGTERM)
    preset = reproduce.Preset([studies.GRAPHS[0], one, two], tmp_path / "work", tmp_path / "quick" / "results")
    monkeypatch.setitem(reproduce.PRESETS, "quick", preset)
    assert call(reproduce)[::2] == (143, "stopped: saved\n")
    assert (preset.results / "one.csv").exists() and not (preset.results / "two.csv").exists()
    assert "2 of 3 studies are done" in page_of(preset) and page_of(preset).count("not done yet") == 1
    before = two.seconds(preset.work)
    status, out, err = call(reproduce)
    assert (status, err, out.count("are there already")) == (0, "", 2) and (preset.results / "two.csv").exists()
    assert two.seconds(preset.work) >= before + 0.02 >= 0.04


def test_the_report_waits_for_all_studies(tmp_path, monkeypatch, call):
    preset = reproduce.Preset([studies.GRAPHS[0], Stub("more", {"more.csv": "stub.csv"}, "")], tmp_path / "work",
                              tmp_path / "report" / "results")
    monkeypatch.setitem(reproduce.PRESETS, "full", preset)
    assert call(reproduce, "--preset", "full", "--cell", 0)[0] == 0
    status, out, err = call(reproduce, "--preset", "full", "--collect")
    assert (status, err) == (0, "") and "report: 1 of 2 studies are done" in out
    assert not (tmp_path / "report" / "report.pdf").exists()


def test_what_another_process_has_at_work_is_left_to_it(quick, call):
    own = quick.work / "gradients"
    own.mkdir(parents=True)
    with files.locked(own):
        status, out, err = call(reproduce, "--cell", 3)
        assert (status, err) == (0, "") and "another process is at work in" in out
    assert not (quick.results / "gradients.csv").exists()
    with files.locked(quick.results):
        status, out, err = call(reproduce)
    assert status == 2 and err.count("\n") == 1 and "another process is at work in" in err


@pytest.mark.parametrize("flags, hint", [(["--cell", 5], "0 … 4"), (["--cell", -1], "not -1"),
                                         (["--collect", "--cell", 1], "not allowed with"),
                                         (["--preset", "huge"], "huge")])
def test_wrong_flags_are_one_line(quick, call, flags, hint):
    status, out, err = call(reproduce, *flags)
    assert (status, out) == (2, "") and err.count("\n") == 1 and hint in err
    assert not quick.work.exists() and not quick.results.exists()


def test_a_missing_book_is_an_error_before_anything_runs(quick, call, monkeypatch):
    monkeypatch.setattr(download, "local", lambda name: None)
    quick.studies.append(studies.text("other", "a book", "", ["De"], "darwin"))
    for flags in ([], ["--cell", 5]):
        status, out, err = call(reproduce, *flags)
        assert status == 2 and "[1/" not in out and err.count("\n") == 1
        assert err.endswith("get it with: python -m assets.download darwin\n")
    assert not (quick.results / "graph_2019.json").exists()


# The presets

def test_the_full_preset_makes_the_committed_results_by_tasks_with_names_of_their_own(tmp_path):
    results = [name for study in studies.FULL for name in study.results]
    assert sorted(results) == sorted(path.name for path in (files.ROOT / "report" / "results").glob("*.*s*"))
    for preset in (studies.QUICK, studies.FULL):
        names = [name for study in preset for name, _, _ in study.tasks(tmp_path, tmp_path)]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("study", [study for study in studies.FULL if isinstance(study, studies.SweepStudy)
                                   and "results.csv" in study.results.values()], ids=lambda study: study.name)
def test_the_cells_of_the_full_preset_are_those_of_the_committed_results(study, tmp_path):
    result, = (name for name, made in study.results.items() if made == "results.csv")
    rows = files.read_csv(files.ROOT / "report" / "results" / result)
    cells = study.cells(tmp_path)
    assert [(row["model_type"], row["palindrome_length"], row["seed"]) for row in rows] == [
        (cell.settings["model_type"], cell.length, cell.settings["seed"]) for cell in cells]
    for row, cell in zip(rows, cells):
        settings = {name: value for name, value in cell.recorded().items() if name in row}
        assert len(settings) > 15 and settings == {name: row[name] for name in settings}
    if isinstance(study, studies.RatesStudy):
        assert [method for method, _ in study.by_method(tmp_path)] == [row["method"] for row in rows]
        corrected = [row for row in rows if row["method"] == "corrected RMSProp"]
        assert {(row["optimizer"], row["beta1"]) for row in corrected} == {("adam", 0)}


@pytest.mark.parametrize("study", [study for study in studies.FULL if f"{study.name}.json" in study.results
                                   and study.book], ids=lambda study: study.name)
def test_the_texts_of_the_full_preset_are_the_committed_ones(study):
    content, config = files.read_json(files.ROOT / "report" / "results" / f"{study.name}.json"), study.parse()
    settings = config.settings | {"txt_file": os.path.basename(config.settings["txt_file"])}
    assert content["settings"].items() >= settings.items()
    assert [row["prompt"] for row in content["sentences"]] == config.prompts


def test_the_settings_of_the_text_models_are_the_committed_ones():
    study, = (study for study in studies.FULL if isinstance(study, studies.SettingsStudy))
    rows = files.read_csv(files.ROOT / "report" / "results" / "text_settings.csv")
    assert [row["setting"] for row in rows] == list(study.settings)
    for row in rows:
        flags = vars(train_text.parse_args([])) | study.parse(*study.settings[row["setting"]].split()).settings
        assert {name: row[name] for name in studies.SETTING} == {name: flags[name] for name in studies.SETTING}


@pytest.mark.parametrize("study", studies.QUICK, ids=lambda study: study.name)
def test_the_command_that_makes_it_again_is_one_of_its_script(study):
    python, option, script, *flags = shlex.split(study.again)
    assert vars(importlib.import_module(script).parse_args(flags)).items() >= {
        name: value for name, value in vars(study.parse()).items() if name not in ("output", "cells")}.items()


def test_tuned_gradients_start_from_each_networks_own_weights(tmp_path, call):
    flags = "--seeds 0 --palindrome_length 8 --num_hidden 4"
    studies.TunedGradientStudy("", {}, f"part1.grads_over_time {flags}").make(tmp_path)
    rows = []
    for models, start in (["RNN"], ["--init", "orthogonal"]), (["LSTM", "PeepLSTM"], ["--forget_bias", "chrono"]):
        call(grads_over_time, *flags.split(), *start, "--output", tmp_path / "other")
        rows += [row for row in files.read_csv(tmp_path / "other" / "gradients.csv") if row["model_type"] in models]
    assert files.read_csv(tmp_path / "gradients.csv") == rows


def test_sweeps_of_optimizers_and_of_trained_networks_make_their_tables(tmp_path):
    rates = {"SGD with momentum": "0.1", "corrected RMSProp": "1"}
    for study in (studies.RatesStudy("", {"optimizers.csv": "results.csv"}, f"part1.sweep {TINY}", rates=rates),
                  studies.TrainedStudy("", {f"{name}.csv": f"{name}.csv" for name in ("gradients", "states", "beyond")},
                                       f"part1.sweep {TINY}", lengths="4 6")):
        for cell in study.cells(tmp_path / "work" / study.name):
            sweep.run_cell(cell)
        study.run(tmp_path / "work", tmp_path)
    assert [row["t"] for row in files.read_csv(tmp_path / "gradients.csv")] == [1, 2, 3]
    assert [row["start"] for row in files.read_csv(tmp_path / "states.csv")] == ["trained"]
    assert [row["T"] for row in files.read_csv(tmp_path / "beyond.csv")] == [4, 6]
    assert [(row["method"], row["learning_rate"]) for row in files.read_csv(tmp_path / "optimizers.csv")] == [
        ("SGD with momentum", 0.1), ("corrected RMSProp", 1)]


def test_a_text_model_is_measured_with_its_best_weights(tmp_path):
    flags = f"{TEXT} --learning_rate 10"  # which makes it worse with each update
    study = studies.text("text", "a text", flags, ["The fox"], kind=studies.MeasuredTextStudy)
    few = "--num_samples 2 --length 60 --positions 5 --prompts 2 --continuation 20"
    dataclasses.replace(study, measuring=few).run(tmp_path / "work", tmp_path)
    assert {path.name for path in tmp_path.glob("text*")} == {
        "text.json", "text_curves.csv", "text_samples.csv", "text_context.csv", "text_beams.csv"}
    held_out, = (row for row in files.read_csv(tmp_path / "text_samples.csv")
                 if (row["source"], row["measure"]) == ("held-out text", "bits"))
    content = files.read_json(tmp_path / "text.json")
    best, last = (content[name]["bits_per_character"] for name in ("best", "result"))
    assert last > 1.5 * best and held_out["mean"] == pytest.approx(best, rel=0.1)


def test_text_models_with_several_settings_end_in_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr(studies.text_study, "write", lambda *_: {})
    study = studies.SettingsStudy(
        "settings", {"text_settings.csv": "results.csv", "text_settings_curves.csv": "curves.csv"},
        f"part2.study {TEXT} --prompts x", settings={"A": "", "B": "--lstm_num_hidden 5 --learning_rate 0.3"})
    _, done, run = study.tasks(tmp_path, tmp_path)[1]
    assert not done
    run()
    assert [done for _, done, _ in study.tasks(tmp_path, tmp_path)] == [False, True]
    study.run(tmp_path, tmp_path)
    rows, curves = (files.read_csv(tmp_path / name) for name in study.results)
    assert [(row["setting"], row["lstm_num_hidden"], row["learning_rate"]) for row in rows] == [
        ("A", 4, 0.002), ("B", 5, 0.3)]
    for row in rows:
        own = {curve["step"]: curve["eval_loss"] for curve in curves if curve["setting"] == row["setting"]}
        assert list(own) == [1, 2, 3] and min(own.values()) == own[row["step"]]
        assert own[row["step"]] == pytest.approx(row["eval_loss"], abs=1e-5)


@pytest.mark.parametrize("content, message", [(None, "holds no results"), ("", "has no column"),
                                              ("step,loss\n", "has no")])
def test_results_that_cannot_be_drawn_are_one_line(call, tmp_path, content, message):
    (tmp_path / "results").mkdir()
    if content is not None:
        (tmp_path / "results" / "text_curves.csv").write_text(content)
    status, out, err = call(plots, "--results", tmp_path / "results", "--figures", tmp_path / "figures")
    assert (status, out) == (2, "") and err.count("\n") == 1 and message in err
