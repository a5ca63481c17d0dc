"""Numbers, tables and claims of the report: from results only, the committed ones up to date, text typeset safely."""
import re

import pytest

from report import build, tables
from report.tests.conftest import NASTY, make_results, sweep_rows

TEXT = (build.REPORT / "report.tex").read_text().split("\\begin{document}")[1]
RESULTS, GENERATED = build.REPORT / "results", build.REPORT / "generated"
committed = pytest.mark.skipif(not (RESULTS / "lengths.csv").exists(), reason="no results in report/results yet")


@committed
def test_committed_tables_are_those_of_the_committed_results():
    files = tables.generate(tables.load(RESULTS))
    assert sorted(files) == sorted(path.name for path in GENERATED.glob("*"))
    for name, content in files.items():
        assert (GENERATED / name).read_text() == content, f"{name} is out of date: python -m report.build"


@committed
def test_the_results_support_what_the_report_says_in_words():
    assert tables.broken_claims(tables.load(RESULTS)) == []


def test_every_claim_of_the_report_is_checked_and_every_check_is_used():
    used = re.findall(r"\\claim\{([a-z0-9-]+)\}", TEXT)
    assert sorted(set(used)) == sorted(tables.CLAIMS)


def test_claims_notice_results_that_contradict_them(made_up):
    results = tables.load(made_up / "results")
    before = tables.broken_claims(results)
    assert not {"rnn-remembers", "lstm-vanishes-faster", "trained-flow"} & set(before)
    assert {"failed-flow", "momentum-suffices"} <= set(before)  # the made-up RNN learns, and all optimizers alike
    results["lengths.csv"] = sweep_rows({("RNN", 5): 1.0, ("RNN", 30): 0.5, ("LSTM", 5): 0.4})
    for row in results["gradients.csv"] + results["gradients_trained.csv"]:
        row["norm"] = 1.0
    now = tables.broken_claims(results)
    assert {"rnn-remembers", "lstm-vanishes-faster", "input-decides", "trained-flow"} <= set(now)


def test_the_report_types_in_no_accuracy_and_takes_only_numbers_that_there_are(made_up):
    numbers = (made_up / "generated" / "numbers.tex").read_text()
    keys = set(re.findall(r"\\setval\{([^}]+)\}", numbers))
    used = set(re.findall(r"\\val\{([^}]+)\}", TEXT))
    assert used <= keys
    flags = set(re.findall(r"\\ifhas([a-z]+)", TEXT))
    assert flags == set(re.findall(r"\\newif\\ifhas([a-z]+)", numbers))
    assert not re.search(r"accuracy (?:of|is) 0\.\d", TEXT)


def test_what_the_report_needs_is_asked_for_by_name(tmp_path):
    make_results(tmp_path / "results", optional=False)
    tables.generate(tables.load(tmp_path / "results"))
    (tmp_path / "results" / "gradients.csv").unlink()
    with pytest.raises(ValueError, match="lacks gradients.csv.*report.reproduce"):
        tables.load(tmp_path / "results")


@pytest.mark.parametrize("name", ["naive.csv", "official.csv", "gradients_tuned.csv", "gradients_trained.csv",
                                  "smallstep.csv", "rmsprop.csv", "binary.csv", "longer.csv", "trained.csv",
                                  "text_tuned.json", "text_second_curves.csv", "optimizers.csv", "benchmark_part1.csv"])
def test_any_other_result_may_be_missing(made_up, name):
    results = tables.load(made_up / "results")
    del results[name]
    tables.generate(results)
    tables.broken_claims(results)


def test_tables_that_are_no_longer_made_are_removed(tmp_path):
    make_results(tmp_path / "results", optional=False)
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / "binary.tex").write_text("old")
    names = tables.write_all(tmp_path / "results", tmp_path / "generated")
    assert sorted(path.name for path in (tmp_path / "generated").iterdir()) == names


def test_text_becomes_plain_ascii_without_ligatures_or_lost_spaces():
    assert tables.latex("a_b & 50%\n") == r"a\_b \& 50\%\lineend{}"
    assert tables.latex("--,, ‘x’") == r"-{}-{},{},{} \textquoteleft{}x\textquoteright{}"
    assert tables.latex("a  b") == r"a \ b" and tables.latex(" a ") == r"\ a\ "
    assert tables.latex("éÑçΩ\t") == r"\'{e}\~{N}\c{c}\codepoint{03A9}\codepoint{0009}"
    assert tables.latex(NASTY).isascii() and "\n" not in tables.latex(NASTY)
    assert tables.latex("w" * 30).count("allowbreak") == 2


def test_numbers_are_written_as_people_write_them():
    assert [tables.number(x) for x in (7, 2000, 10_000, 0.12345)] == ["7", "2000", r"10\,000", "0.123"]
    assert tables.number(-55.66, 1) == r"\ensuremath{-55.7}"
    assert tables.power(2.5e-14) == r"\ensuremath{2.5\times 10^{-14}}"
    assert tables.spread([1.0, 0.5]) == r"\ensuremath{0.750 \pm 0.354}" and tables.spread([0.5]) == "0.500"
    assert tables.listing("abc") == "a, b and c" and tables.listing(["a"]) == "a"


def test_repetition_is_measured():
    assert tables.distinct("abcdefghij") == 1 and tables.distinct("a" * 20) == pytest.approx(1 / 16)
    assert tables.loops("xy the wolf was the wolf was the wolf was") and tables.loops("start" + "a" * 21)
    assert not tables.loops("the quick brown fox jumps over the lazy dog and then it sleeps")
    assert tables.loops("the wolf said to the little tailor that the wolf said to the little tailor")
    assert not tables.loops("") and not tables.loops("ab" * 5)


def test_reach_says_how_far_and_where_it_ends():
    cells = tables.groups(sweep_rows({("RNN", 5): 1.0, ("RNN", 10): 0.5, ("RNN", 20): 0.999, ("RNN", 30): 0.2}))["RNN"]
    text = tables.reach(cells)
    assert "up to $T = 20$" in text and "fails within its 3000 updates at $T = 30$" in text
    assert "misses $T = 10$" in text
    assert tables.reach({30: cells[30]}).startswith("solves none")
    assert "the longest in the table" in tables.reach({5: cells[5]})


def test_the_comparison_says_no_more_than_the_lengths_that_were_tried():
    def sentence(**accuracy):
        return tables.farther(tables.groups(sweep_rows({(model, T): value for model, values in accuracy.items()
                                                        for T, value in values.items()})))

    assert "fails at $T = 50$" in sentence(RNN={30: 1.0, 50: 0.3}, LSTM={30: 1.0, 50: 1.0})
    assert "not tried beyond $T = 30$" in sentence(RNN={30: 1.0}, LSTM={30: 1.0, 50: 1.0})
    assert "do not show" in sentence(RNN={30: 1.0, 50: 0.3}, LSTM={30: 1.0, 50: 0.3})
    assert "do not show" in sentence(RNN={30: 1.0}, LSTM={50: 1.0})


def test_four_seeds_of_five_solve_a_length():
    rows = sweep_rows({("RNN", 5): 1.0})
    for failed, expected in ((1, True), (2, False)):
        assert tables.solved([{**row, "accuracy": 0.3 if row["seed"] < failed else 1.0} for row in rows]) is expected


def test_script_says_which_words_the_results_do_not_support(call, made_up, tmp_path):
    status, out, err = call(tables, "--results", made_up / "results", "--generated", tmp_path / "out")
    assert (status, err) == (0, "") and "files in" in out and (tmp_path / "out" / "numbers.tex").exists()
    status, out, err = call(tables, "--results", tmp_path / "nothing")
    assert status == 2 and err.count("\n") == 1 and "Traceback" not in err
