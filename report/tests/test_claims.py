"""What the report says in words and results decide: each \\claim{name} in report.tex, against the committed results."""
import math
import re

import numpy as np
import pytest

from report import build, tables
from report.tables import LEVEL, SOLVED, accuracies, cells, distinct, diversity, factor, grouped, longest

GRIMM, DARWIN = "book_EN_grimms_fairy_tails.txt", "book_NL_darwin_reis_om_de_wereld.txt"


def right(rows):
    """Whether all seeds reach `SOLVED`."""
    return min(accuracies(rows)) >= SOLVED


def steps(rows):
    return np.mean([row["steps"] for row in rows])


def length_claims(r):
    official, naive, _, forget, tuned, latch, frozen, frozen_latch = (cells(r[file])
                                                                      for file in tables.SWEEPS.values())
    speeds = [row for row in r["benchmark_part1.csv"] if (row["threads"], row["T"]) == (1, 100)]
    return {
        "bptt-is-faster": len(speeds) == 2 and all(
            row["autograd/bptt"] > 1 / 0.7 and row["bptt/torch"] < 1 for row in speeds),
        "rnn-fails": np.mean(accuracies(tuned["RNN"][100])) < 0.12,
        "latch-solves": right(r["latch.csv"]) and {row["optimizer"] for row in r["latch.csv"]} == {"rmsprop"}
        and {row["learning_rate"] for row in r["latch.csv"]} == {0.001},
        "latches-alike": max(row["steps"] for row in r["latch.csv"]) <= 50
        and set(latch) == {"RNN", "LSTM", "PeepLSTM"},
        "frozen-latch": right(r["frozen_latch.csv"]) and set(frozen_latch["RNN"]) <= set(latch["RNN"]),
        "frozen-solves": longest(frozen["RNN"]) in (15, 20) and max(accuracies(frozen["LSTM"][5])) < 0.95,
        "lstm-not-the-optimizer": max(accuracies(r["corrected.csv"])) < 0.12 > max(accuracies(naive["LSTM"][30])),
        "forget-bias-helps": longest(forget["LSTM"]) > longest(naive["LSTM"]),
        "sanity-check": right(official["RNN"][5] + official["LSTM"][5]),
        "lstm-reaches-further": longest(tuned["LSTM"]) == max(tuned["LSTM"]) > 100 > longest(tuned["RNN"]),
        "longer-is-solved": right(r["longer.csv"]),
    }


def optimizer_claims(r):
    seeds = {method: {rate: sum(bool(row["steps_to_target"]) for row in runs)
                      for rate, runs in grouped(rows, "learning_rate").items()}
             for method, rows in grouped(r["optimizers.csv"], "method").items()}  # that learn, at each rate
    *others, Adam = (sorted(rates.values()) for rates in seeds.values())
    traces = grouped(tables.chosen(r["traces.csv"], model_type="RNN", step=10), "optimizer")
    moved, slope = ({optimizer: tables.average(rows, column) for optimizer, rows in traces.items()}
                    for column in ("moved", "slope"))
    return {
        "first-steps": moved["RMSProp"] > 3 * moved["corrected RMSProp"]
        and slope["RMSProp"] < 0.7 < slope["corrected RMSProp"],
        "correction-helps": seeds["RMSProp"][0.001] == 0 and seeds["corrected RMSProp"][0.001] == 5
        and seeds["RMSProp"][0.0003] == 5,
        "optimizer-windows": all(best == 5 > next_best for *_, next_best, best in others) and Adam[2:] == [4, 4, 4],
    }


def binary_claims(r):
    LSTM, peephole = (list(grouped(cells(r["binary_curves.csv"])[model][10], "seed").values())
                      for model in ("LSTM", "PeepLSTM"))
    early = [row["accuracy"] for curve in LSTM for row in curve if row["step"] <= curve[-1]["step"] / 10]
    last_wrong, last_wrong_peephole = ([max(row["step"] for row in curve if row["accuracy"] < SOLVED)
                                        for curve in curves] for curves in (LSTM, peephole))
    runs = cells(r["binary.csv"])["LSTM"]
    plateau = tables.chosen(r["binary_curves.csv"], model_type="LSTM", palindrome_length=20, step=800)
    late, *others = sorted(runs[20], key=lambda row: row["accuracy"])
    return {
        "binary-plateau": np.mean(early) < 0.72 and right([curve[-1] for curve in LSTM]),
        "short-context": all(0.595 < row["eval_loss"] < 0.62 and row["accuracy"] < 0.7 for row in plateau),
        "one-is-late": 0.8 < late["best_accuracy"] < LEVEL and right(others + runs[10]),
        "peephole-is-later": right([curve[-1] for curve in peephole]) and min(last_wrong_peephole) > max(last_wrong)
        and min(curve[-1]["eval_loss"] for curve in peephole) > max(curve[-1]["eval_loss"] for curve in LSTM),
    }


def gradient_claims(r):
    untrained, tuned, trained = (tables.gradient_curves(r[file]) for file in tables.GRADIENTS.values())
    RNN, LSTM, memory = ("RNN", "one-hot", "h"), ("LSTM", "one-hot", "h"), ("LSTM", "one-hot", "c")
    raw_RNN, raw_LSTM, peephole = ("RNN", "raw", "h"), ("LSTM", "raw", "h"), ("PeepLSTM", "one-hot", "c")
    flow = {key: factor(curve) for key, curve in untrained.items()}
    runs = grouped(r["trained.csv"], "model_type")

    def survive(start, back=tables.BACK):
        rows = tables.chosen(r["directions.csv"], model_type="RNN", start=start, back=back)
        return [row["above_0.01"] for row in rows]

    def left(key, T):  # of the gradient of the last step after the T - 2 steps back of a palindrome of length T
        return untrained[key][max(untrained[key]) - (T - 2)] / untrained[key][max(untrained[key])]

    return {
        "lstm-vanishes-faster": flow[LSTM] < flow[RNN],
        "input-decides": flow[raw_RNN] < flow[raw_LSTM] < flow[RNN]
        and 1e10 < untrained[RNN][1] / untrained[raw_RNN][1] < 1e11,
        "directions-vanish": max(survive("naive")) < 20 < 80 < min(survive("orthogonal"))
        and not any(survive("orthogonal", 90)),
        "memory-without-gradient": all(
            row["above_0.01"] == 0 for model in ("RNN", "LSTM")
            for row in tables.chosen(r["directions.csv"], model_type=model, start="latch", back=tables.BACK))
        and min(row["keep_sign"] for row in tables.chosen(r["states.csv"], start="latch")) > 0.95
        and max(row["keep_sign"] for row in tables.chosen(r["states.csv"], model_type="LSTM", start="chrono")) < 0.5,
        "mean-field": abs(tables.average(tables.chosen(r["states.csv"], model_type="RNN", start="naive"), "mean_field")
                          - flow[RNN]) < 0.05,
        "chrono-flattens": factor(tuned[memory]) > 0.97 > flow[memory],
        "orthogonal-same-norm": abs(factor(tuned[RNN]) - flow[RNN]) < 0.03,
        "rnn-gradient-arrives": left(RNN, 30) > 1 / 20,
        "trained-flow": right(runs["LSTM"] + runs["PeepLSTM"]) and all(
            max(trained[key], key=trained[key].get) == 1 for key in (memory, peephole)),
        "failed-flow": max(accuracies(runs["RNN"])) < 0.12 and factor(trained[RNN]) < factor(tuned[RNN]) - 0.1,
    }


def text_claims(r):
    text, curve = r["text.json"], r["text_curves.csv"]
    books = [r[f"{name}.json"]["settings"]["txt_file"] for name in tables.TEXTS.values()]
    held_out, larger = ([row["eval_loss"] for row in r[file] if row["eval_loss"]]
                        for file in ("text_curves.csv", "text_tuned_curves.csv"))
    half, one, two, greedy = (diversity(row["samples"]) for row in text["temperatures"])
    first, last = text["stages"][0]["samples"], text["stages"][-1]["samples"]
    richness = [distinct(row["text"]) for row in text["beams"]]
    return {
        "books": books == [GRIMM, GRIMM, DARWIN],
        "text-learns": curve[-1]["loss"] < curve[0]["loss"] - 1,
        "not-overfitting": held_out[len(held_out) // 3] > held_out[len(held_out) * 2 // 3] > held_out[-1]
        and held_out[-1] <= min(held_out) + 0.005,
        "larger-is-better": held_out[-1] - larger[-1] > 0.1 * math.log(2) and min(larger) < larger[-1],
        "greedy-loops": greedy < two <= one + 0.02 and two < half + 0.02,
        "long-samples-repeat": diversity(last) < diversity(last, 30) - 0.05,
        "phrases-grow": diversity(first) < diversity(last),
        "beams-gain": min(np.diff([row["log_probability"] for row in text["beams"]])) > 0,
        "wider-is-not-richer": richness[-1] <= richness[1],
        "updates-differ": (r["graph_2019.json"]["updates"], r["graph_2020.json"]["updates"]) == (3, 4),
    }


def claims(r):
    return length_claims(r) | optimizer_claims(r) | binary_claims(r) | gradient_claims(r) | text_claims(r)


@pytest.fixture(scope="module")
def results():
    return tables.load(build.REPORT / "results")


def test_the_results_support_every_claim_of_the_report(results):
    text = (build.REPORT / "report.tex").read_text().split("\\begin{document}")[1]
    assert sorted(re.findall(r"\\claim\{([a-z0-9-]+)\}", text)) == sorted(claims(results))
    assert [name for name, holds in claims(results).items() if not holds] == []


def test_claims_notice_other_results(results):
    """With the names of the RNN and the LSTM exchanged, and learning turned round, claims break."""
    def exchanged(row):
        names = {"RNN": "LSTM", "LSTM": "RNN"} if row.get("state") != "c" else {}
        return row | {"model_type": names.get(row["model_type"], row["model_type"])}

    other = results | {"text_curves.csv": results["text_curves.csv"][::-1], "longer.csv": results["naive.csv"]} | {
        file: list(map(exchanged, results[file])) for file in ("lengths.csv", "trained.csv", "gradients.csv")}
    broken = ["lstm-reaches-further", "lstm-vanishes-faster", "input-decides", "failed-flow",
              "longer-is-solved", "text-learns", "not-overfitting"]
    assert [name for name in broken if claims(other)[name]] == []
