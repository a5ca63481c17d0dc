"""What the report says in words and results decide: each \\claim{name} in report.tex, against the committed results."""
import math
import re

import numpy as np
import pytest

from report import build, tables
from report.tables import LEVEL, SOLVED, accuracies, best_rates, cells, distinct, diversity, factor, grouped, longest

GRIMM, DARWIN = "book_EN_grimms_fairy_tails.txt", "book_NL_darwin_reis_om_de_wereld.txt"


def right(rows):
    """Whether all seeds reach `SOLVED`."""
    return min(accuracies(rows)) >= SOLVED


def steps(rows):
    return np.mean([row["steps"] for row in rows])


def length_claims(r):
    tuned, rmsprop, small, naive, official = (cells(r[file]) for file in tables.SWEEPS.values())
    reach, naive_reach, official_reach = ({model: longest(lengths) for model, lengths in sweep.items()}
                                          for sweep in (tuned, naive, official))
    failed = min(T for T in naive["RNN"] if T > naive_reach["RNN"])
    in_time = [row for row in small["RNN"][failed] if row["steps"] <= naive["RNN"][failed][0]["train_steps"]]
    speeds = [row for row in r["benchmark_part1.csv"] if (row["threads"], row["T"]) == (1, 100)]
    return {
        "bptt-is-faster": len(speeds) == 2 and all(
            row["autograd/bptt"] > 1 / 0.7 and row["bptt/torch"] < 1 for row in speeds),
        "rnn-fails": np.mean(accuracies(tuned["RNN"][max(tuned["RNN"])])) < 0.12,
        "rnn-remembers": reach["RNN"] >= 30,
        "naive-lstm-no-better": naive_reach["LSTM"] <= naive_reach["RNN"] and all(
            np.mean(accuracies(naive["LSTM"][T])) < np.mean(accuracies(naive["RNN"][T])) + 0.03 for T in naive["RNN"]),
        "tuning-matters": all(reach[model] > naive_reach[model] for model in ("RNN", "LSTM")),
        "rate-decides": longest(small["RNN"]) == max(small["RNN"]) >= 1.5 * naive_reach["RNN"],
        "not-only-more-updates": sum(accuracy >= SOLVED for accuracy in accuracies(in_time)) >= 4,
        "orthogonal-is-faster": longest(rmsprop["RNN"]) < longest(small["RNN"]) == 50 and all(
            right(rmsprop["RNN"][T] + small["RNN"][T]) and steps(rmsprop["RNN"][T]) < 0.7 * steps(small["RNN"][T])
            for T in (30, 40)),
        "raw-is-harder": official_reach["RNN"] == naive_reach["RNN"] == max(official["RNN"])
        and official_reach["LSTM"] < naive_reach["LSTM"],
        "sanity-check": right(official["RNN"][5] + official["LSTM"][5]),
        "lstm-reaches-further": reach["LSTM"] == max(tuned["LSTM"]) > max(tuned["RNN"]) > reach["RNN"],
        "longer-is-solved": right(r["longer.csv"]),
    }


def optimizer_claims(r):
    rows = r["optimizers.csv"]
    SGD, momentum, RMSProp, Adam = (np.mean([row["steps_to_target"] or math.inf for row in best])
                                    for best in best_rates(rows).values())
    faster = [row["steps_to_target"] for row in rows if (row["method"], row["learning_rate"]) == ("RMSProp", 0.001)]
    return {"momentum-suffices": max(momentum, Adam) < 0.5 * min(SGD, RMSProp) and abs(momentum - Adam) < 0.25 * Adam
            and faster.count(None) == 1 and all(update < RMSProp for update in faster if update)}


def binary_claims(r):
    LSTM, peephole = (list(grouped(cells(r["binary_curves.csv"])[model][10], "seed").values())
                      for model in ("LSTM", "PeepLSTM"))
    early = [row["accuracy"] for curve in LSTM for row in curve if row["step"] <= curve[-1]["step"] / 10]
    last_wrong, last_wrong_peephole = ([max(row["step"] for row in curve if row["accuracy"] < SOLVED)
                                        for curve in curves] for curves in (LSTM, peephole))
    runs = cells(r["binary.csv"])["LSTM"]
    late, *others = sorted(runs[20], key=lambda row: row["accuracy"])
    return {
        "binary-plateau": np.mean(early) < 0.72 and right([curve[-1] for curve in LSTM]),
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

    def left(key, T):  # of the gradient of the last step after the T - 2 steps back of a palindrome of length T
        return untrained[key][max(untrained[key]) - (T - 2)] / untrained[key][max(untrained[key])]

    return {
        "lstm-vanishes-faster": flow[LSTM] < flow[RNN],
        "input-decides": flow[raw_RNN] < flow[raw_LSTM] < flow[RNN]
        and 1e10 < untrained[RNN][1] / untrained[raw_RNN][1] < 1e11,
        "chrono-flattens": factor(tuned[memory]) > 0.97 > flow[memory],
        "orthogonal-same-norm": abs(factor(tuned[RNN]) - flow[RNN]) < 0.03,
        "rnn-gradient-arrives": left(RNN, 30) > 1 / 20,
        "raw-order": left(raw_LSTM, 20) < left(raw_RNN, 20) and flow[raw_LSTM] > flow[raw_RNN],
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
    broken = ["lstm-reaches-further", "lstm-vanishes-faster", "input-decides", "raw-order", "failed-flow",
              "longer-is-solved", "text-learns", "not-overfitting"]
    assert [name for name in broken if claims(other)[name]] == []
