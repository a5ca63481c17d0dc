"""What the report says in words and results decide: each \\claim{name} in report.tex, against the committed results."""
import re

import numpy as np
import pytest

from part1.dataset import BaumSweetDataset
from part1.drawing import label_entropy, wilson
from part2.texts import distinct
from report import build, tables
from report.tables import SOLVED, accuracies, cells, factor, grouped, longest

GRIMM, DARWIN = "book_EN_grimms_fairy_tails.txt", "book_NL_darwin_reis_om_de_wereld.txt"


def right(rows):
    """Whether all seeds reach `SOLVED`."""
    return min(accuracies(rows)) >= SOLVED


def steps(rows):
    return np.mean([row["steps"] for row in rows])


def length_claims(r):
    official, naive, adam, forget, tuned, latch, _, frozen, frozen_latch = (cells(r[file])
                                                                         for file in tables.SWEEPS.values())
    speeds = [row for row in r["benchmark_part1.csv"] if (row["threads"], row["T"]) == (1, 100)]
    return {
        "bptt-is-faster": len(speeds) == 2 and all(
            row["autograd/bptt"] > 1 / 0.7 and row["bptt/torch"] < 1 for row in speeds),
        "adam-gets-as-far": longest(adam["RNN"]) >= longest(tuned["RNN"]) and max(
            row["steps"] for row in adam["RNN"][50] if row["accuracy"] >= SOLVED) < min(
            row["steps"] for row in tuned["RNN"][50] if row["accuracy"] >= SOLVED),
        "rnn-fails": np.mean(accuracies(tuned["RNN"][100])) < 0.12,
        "latch-solves": right(r["latch.csv"] + r["latch_longest.csv"])
        and {(row["optimizer"], row["learning_rate"]) for row in r["latch.csv"]} == {("rmsprop", 0.001)},
        "latches-alike": max(row["steps"] for row in r["latch.csv"]) <= 50
        and set(latch) == {"RNN", "LSTM", "PeepLSTM"},
        "frozen-latch": right(r["frozen_latch.csv"]) and set(frozen_latch["RNN"]) <= set(latch["RNN"]),
        "frozen-solves": (longest(frozen["RNN"]), longest(frozen["LSTM"])) == (15, 10)
        and {row["readable"] for row in r["states_short.csv"]} == {1},
        "latches-go-on": all(row["accuracy"] >= SOLVED for row in r["beyond_latch.csv"])
        and max(row["T"] / row["trained_at"] for row in r["beyond_latch.csv"]) == 1000,
        "chrono-goes-on": min(accuracies(tables.chosen(r["beyond.csv"], model_type="LSTM", T=100_000))) > 0.7
        and sum(accuracy > 0.7 for accuracy in accuracies(
            tables.chosen(r["beyond.csv"], model_type="PeepLSTM", T=100_000))) == 2,
        "lstm-not-the-optimizer": max(accuracies(r["corrected.csv"])) < 0.12 > max(accuracies(naive["LSTM"][30])),
        "forget-bias-helps": longest(forget["LSTM"]) > longest(naive["LSTM"]) and max(
            accuracies(forget["LSTM"][100])) < 0.12,
        "peephole-learns-more": min(accuracies(naive["PeepLSTM"][30])) >= 0.9 and max(
            accuracies(naive["LSTM"][30])) < 0.12,
        "sanity-check": right(official["RNN"][5] + official["LSTM"][5]),
        "lstm-reaches-further": longest(tuned["LSTM"]) == max(tuned["LSTM"]) > 100 > longest(tuned["RNN"]),
        "peephole-fails": longest(tuned["PeepLSTM"]) < 300 == max(tuned["PeepLSTM"]),
        "longer-is-solved": right(r["longer.csv"]),
    }


def optimizer_claims(r):
    def learn(T):
        """How many seeds learn, by optimizer and rate."""
        return {method: {rate: sum(bool(row["steps_to_target"]) for row in runs)
                         for rate, runs in grouped(rows, "learning_rate").items()}
                for method, rows in grouped(tables.chosen(r["optimizers.csv"], palindrome_length=T), "method").items()}

    seeds, longer, hundred = learn(30), learn(50), learn(100)
    SGD, *others, Adam = (sorted(rates.values()) for rates in seeds.values())

    def traced(column, step, model="RNN", start="naive"):
        """The values of the seeds, by optimizer."""
        rows = tables.chosen(r["traces.csv"], model_type=model, start=start, step=step)
        rate = (min if model == "RNN" else max)(row["learning_rate"] for row in rows)
        return {optimizer: [row[column] for row in own]
                for optimizer, own in grouped(tables.chosen(rows, learning_rate=rate), "optimizer").items()}

    def learned(method, rate=0.05):
        """How many seeds learn with zero biases, at each length."""
        rows = tables.chosen(r["rates_lstm.csv"], method=method, learning_rate=rate)
        return [len(tables.updates_to_target(runs)) for runs in grouped(rows, "palindrome_length").values()]

    intervals = {method: wilson(len(tables.updates_to_target(runs)), len(runs))
                 for method, runs in grouped(r["optimizers_seeds.csv"], "method").items()}
    moved, slope = ({optimizer: np.mean(values) for optimizer, values in traced(column, 10).items()}
                    for column in ("moved", "slope"))
    readable, first, high = traced("readable", 300), traced("readable", 1, "LSTM"), traced("readable", 60, "LSTM")
    start, later = traced("readable", 0)["RMSProp"], traced("readable", 60)["Adam"]
    return {
        "first-steps": moved["RMSProp"] > 3 * moved["corrected RMSProp"]
        and slope["RMSProp"] < 0.7 < slope["corrected RMSProp"],
        "correction-helps": intervals["RMSProp"][1] < min(intervals["corrected RMSProp"][0], intervals["Adam"][0])
        and seeds["RMSProp"][0.0003] == 5,
        "memory-grows": min(readable["corrected RMSProp"]) > 0.98
        and [value > 0.85 for value in sorted(readable["RMSProp"])] == [False, False, False, True, True]
        and sorted(readable["RMSProp"])[2] < 0.15,
        "not-slope-alone": np.mean(traced("moved", 60)["Adam"]) > moved["RMSProp"]
        and np.mean(traced("slope", 60)["Adam"]) < slope["RMSProp"]
        and all(after > 2 * before for before, after in zip(start, later)),
        "high-rate-solves": learned("RMSProp") == [3, 2] and max(learned("corrected RMSProp") + learned("Adam")) <= 1
        and not any(sum(learned(method, 0.01)) for method in ("RMSProp", "corrected RMSProp", "Adam")),
        "accidental-latch": min(first["RMSProp"]) > 0.25 > 0.15 > max(first["corrected RMSProp"])
        and min(high["RMSProp"]) > 0.8 and sorted(high["corrected RMSProp"])[3] < 0.15,
        "optimizer-windows": all(best == 5 > next_best for *_, next_best, best in others) and Adam[2:] == [4, 4, 4]
        and SGD[-1] == 2 and longer.pop("Adam")[0.001] == 4 and max(max(rates.values()) for rates in longer.values()) < 4
        and hundred["Adam"][0.001] == sum(sum(rates.values()) for rates in hundred.values()) == 1,
    }


def relapses(curve):
    """Whether the accuracy falls below `SOLVED` again."""
    solved = [row["accuracy"] >= SOLVED for row in curve]
    return False in solved[solved.index(True):]


def binary_claims(r):
    LSTM, peephole = (list(grouped(cells(r["binary_curves.csv"])[model][10], "seed").values())
                      for model in ("LSTM", "PeepLSTM"))
    early = [row["accuracy"] for curve in LSTM for row in curve if row["step"] <= 150]
    last_wrong, last_wrong_peephole = ([max(row["step"] for row in curve if row["accuracy"] < SOLVED)
                                        for curve in curves] for curves in (LSTM, peephole))
    runs = cells(r["binary.csv"])["LSTM"]
    twenty, twenty_peephole = (list(grouped(cells(r["binary_curves.csv"])[model][20], "seed").values())
                               for model in ("LSTM", "PeepLSTM"))
    false_starts = [any(row["accuracy"] > 0.85 > 0.7 > later["accuracy"] for row, later in zip(curve, curve[1:]))
                    for curve in twenty]
    ablated = {model: list(grouped(rows, "seed").values())
               for model, rows in grouped(r["ablations_curves.csv"], "model_type").items()}
    baum_sweet, combinations = cells(r["baum_sweet.csv"]), cells(r["combinations.csv"])
    return {
        "sigmoid-slows": max(map(tables.unsettled, ablated["TanhPeepLSTM"])) <= max(map(tables.unsettled, LSTM))
        and min(map(tables.unsettled, ablated["RecurrentPeepLSTM"] + ablated["OutputPeepLSTM"]))
        >= min(map(tables.unsettled, peephole)),
        "baum-sweet-chances": [f"{BaumSweetDataset(L).chance:.2f}" for L in (4, 5, 6)] == ["0.82", "0.67", "0.50"],
        "groups-sanity": right(r["baum_sweet.csv"] + r["combinations.csv"])
        and all(set(baum_sweet[model]) == {4, 5, 6} for model in ("LSTM", "GRU"))
        and all(set(combinations[model]) == {5, 6, 10, 15} for model in ("LSTM", "BiLSTM"))
        and {row["train_steps"] for row in r["baum_sweet.csv"]} == {3000},
        "binary-plateau": np.mean(early) < 0.72 and right([curve[-1] for curve in LSTM]),
        "short-context": all(abs(drop - (label_entropy(0) - label_entropy(3))) < 0.004
                             for drop in tables.drops(r["binary_curves.csv"])),
        "binary-solved": right(runs[10] + runs[20]) and false_starts == [False, True, False],
        "peephole-rises-first": max(map(tables.rises, twenty_peephole)) < min(map(tables.rises, twenty))
        and right([curve[-1] for curve in twenty_peephole]),
        "peephole-relapses": all(map(relapses, peephole + twenty_peephole)) and not any(map(relapses, LSTM + twenty)),
        "peephole-is-later": right([curve[-1] for curve in peephole]) and min(last_wrong_peephole) > max(last_wrong)
        and min(map(tables.unsettled, peephole)) > max(map(tables.unsettled, LSTM)),
    }


def gradient_claims(r):
    untrained, tuned, trained = (tables.gradient_curves(r[file]) for file in tables.GRADIENTS.values())
    RNN, LSTM, memory = ("RNN", "one-hot", "h"), ("LSTM", "one-hot", "h"), ("LSTM", "one-hot", "c")
    raw_RNN, raw_LSTM, peephole = ("RNN", "raw", "h"), ("LSTM", "raw", "h"), ("PeepLSTM", "one-hot", "c")
    flow = {key: factor(curve) for key, curve in untrained.items()}
    expected = tables.average(tables.chosen(r["states.csv"], model_type="RNN", start="naive"), "mean_field")
    runs = grouped(r["trained.csv"], "model_type")

    def survive(start):
        rows = tables.chosen(r["directions.csv"], model_type="RNN", start=start, back=tables.BACK)
        return [row["above_0.01"] for row in rows]

    def left(key, T):  # of the gradient of the last step after the T - 2 steps back of a palindrome of length T
        return untrained[key][max(untrained[key]) - (T - 2)] / untrained[key][max(untrained[key])]

    return {
        "lstm-vanishes-faster": flow[LSTM] < flow[RNN],
        "input-decides": 1e10 < untrained[RNN][1] / untrained[raw_RNN][1] < 1e11
        and 1e3 < untrained[raw_LSTM][1] / untrained[LSTM][1] < 1e4,
        "directions-vanish": max(survive("naive")) < 20 < 80 < min(survive("orthogonal")),
        "memory-without-gradient": all(
            row["above_0.01"] == 0 for model in ("RNN", "LSTM")
            for row in tables.chosen(r["directions.csv"], model_type=model, start="latch", back=tables.BACK))
        and min(row["keep_sign"] for row in tables.chosen(r["states.csv"], start="latch")) > 0.95
        and min(row["readable"] for row in tables.chosen(r["states.csv"], start="latch")) > 0.99
        and all(0.4 < row["readable"] < 0.9
                for row in tables.chosen(r["states.csv"], model_type="LSTM", start="chrono"))
        and max(row["keep_sign"] for row in tables.chosen(r["states.csv"], model_type="LSTM", start="chrono")) < 0.5,
        "mean-field": 8 < (flow[RNN] / expected) ** 98 < 15 and 8 < tables.chosen(
            r["gradients.csv"], model_type="RNN", input="one-hot", state="h", t=1)[0]["factor"] < 15,
        "chrono-flattens": factor(tuned[memory]) > 0.97 > flow[memory],
        "orthogonal-same-norm": abs(factor(tuned[RNN]) - flow[RNN]) < 0.03,
        "rnn-gradient-arrives": left(RNN, 30) > 1 / 20,
        "trained-flow": right(runs["LSTM"] + runs["PeepLSTM"]) and all(
            max(trained[key], key=trained[key].get) == 1 for key in (memory, peephole)),
        "trained-gates": all(row["i_first"] > 1.4 * row["i_later"] and 0.4 < row["keep_sign"] < 0.6
                             for row in tables.chosen(r["states_trained.csv"], model_type="LSTM")),
        "peephole-shuts-its-door": all(row["i_later"] < 0.6 * row["i_first"] for row in r["states_peephole.csv"]),
        "drift-saturates": all(row["sigma_1"] > 1.5 and row["slope"] < 0.6
                               for row in tables.chosen(r["states_trained.csv"], model_type="RNN"))
        and max(row["best_accuracy"] for row in runs["RNN"]) < 0.12,
        "failed-flow": max(accuracies(runs["RNN"])) < 0.12 and factor(trained[RNN]) < factor(tuned[RNN]) - 0.1,
    }


def text_claims(r):
    curve, best = r["text_curves.csv"], r["text_best_curves.csv"]
    books = [r[f"{name}.json"]["settings"]["txt_file"] for names in tables.TEXTS.values() for name in names]
    held_out = [row["eval_loss"] for row in curve if row["eval_loss"]]
    counting = {row["model"]: row["held_out_bits"] for row in r["ngram.csv"]}
    bits = [r[f"{name}.json"]["best"]["bits_per_character"] for name in tables.TEXTS["Grimm"]]
    best_bits = r["text_best.json"]["best"]["bits_per_character"]

    def sampled(measure, tau, source="samples", name="text"):
        row, = tables.chosen(r[f"{name}_samples.csv"], measure=measure, temperature=tau, source=source)
        return row

    def context(name, characters):
        return tables.chosen(r[f"{name}_context.csv"], context=characters)[0]

    def beams(column, method):
        return np.array([row[column] for name in ("text", "text_best")
                         for row in tables.chosen(r[f"{name}_beams.csv"], method=method)])

    def more(name, method):
        """How many more distinct 5-grams than greedily, in standard errors beyond 2 (0 if within), prompt by prompt."""
        greedy, own = ([row["distinct"] for row in tables.chosen(r[f"{name}_beams.csv"], method=method)]
                       for method in ("greedy", method))
        difference = np.array(own) - greedy
        z = difference.mean() / (difference.std(ddof=1) / len(difference) ** 0.5)
        return np.sign(z) * max(0, abs(z) - 2)

    endings = [row for name in tables.TEXTS["Grimm"] for row in r[f"{name}.json"]["sentences"]]
    copies = [sampled("longest copy", tau, name="text_best") for tau in (1, 2, 4)]
    one, two, greedy, book = (sampled("known words", *where) for where in (
        (1, ), (2, ), (None, ), (None, "held-out text")))
    return {
        "books": books == [GRIMM] * 4 + [DARWIN],
        "text-learns": curve[-1]["loss"] < curve[0]["loss"] - 1,
        "not-overfitting": held_out[len(held_out) // 3] > held_out[len(held_out) * 2 // 3] > held_out[-1]
        and held_out[-1] <= min(held_out) + 0.005,
        "counting-comes-close": counting["bz2"] < min(bits)
        and max(bits) < min(bits for name, bits in counting.items() if "gram" in name) < min(bits) + 0.15,
        "better-than-counting": best_bits + 0.1 < min(counting.values()),
        "best-overfits": np.mean([row["loss"] for row in best[-15:]]) < best[-1]["eval_loss"] - 0.1,
        "greedy-loops": all(sampled("loops", None, name=name)["low"] == 1 for name in ("text", "text_best")),
        "endings": max(distinct(row["greedy"]) for row in endings) < 0.85
        and not any(row["greedy"].startswith("Once upon a time there was") for row in endings),
        "castle": all("I will not be a little castle" in row["greedy"] for row in r["text_best.json"]["sentences"]),
        "words-against-temperature": one["high"] < book["low"] < two["low"] < book["high"] < greedy["low"],
        "no-copies": all(sampled("longest copy", 1, name=name)["high"] < sampled("longest copy", None, "held-out text")[
            "low"] for name in ("text", "text_best")),
        "sure-quotes": copies[0]["high"] < copies[1]["low"] <= copies[1]["high"] < copies[2]["low"],
        "context-helps": abs(context("text", 10)["bits"] - context("text", 500)["bits"]) < 0.005
        and context("text_best", 50)["gain"] > 3 * context("text_best", 50)["gain_error"]
        and context("text_best", 100)["gain"] < 2 * context("text_best", 100)["gain_error"],
        "beams-gain": (beams("log_probability", "10 beams") > beams("log_probability", "greedy")).mean() > 0.9,
        "people-are-unlikely": (beams("log_probability", "held-out text") < beams("log_probability", "10 beams")
                                ).mean() > 0.9,
        "beams-and-repetition": more("text", "10 beams") > 0 and more("text_best", "10 beams") > 0
        and more("text", "5 beams") > 0 > more("text_best", "5 beams"),
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


def test_the_readme_says_what_is_reached(results):
    def reached(file, model):
        """The longest length that all seeds solve, and the number of seeds."""
        return max((T, len(rows)) for T, rows in cells(results[file])[model].items() if right(rows))

    (RNN, seeds), (without, n), (LSTM, m), (chrono, k), (peephole, l), (tuned, q) = (reached(*cell) for cell in [
        ("latch_longest.csv", "RNN"), ("lengths.csv", "RNN"), ("latch.csv", "LSTM"), ("longer.csv", "LSTM"),
        ("latch.csv", "PeepLSTM"), ("lengths.csv", "PeepLSTM")])
    large, small = (results[f"{name}.json"]["best"]["bits_per_character"] for name in ("text_best", "text"))
    counting = {row["model"]: row["held_out_bits"] for row in results["ngram.csv"]}
    text = (build.REPORT.parent / "README.md").read_text(encoding="utf-8")
    for words in (f"T = {RNN:,} in {seeds} of {seeds} seeds (latch); {without} in {n} of {n} without",
                  f"T = {LSTM:,} in {m} of {m} (latch); {chrono} in {k} of {k} (chrono biases)",
                  f"T = {peephole:,} in {l} of {l} (latch); {tuned} in {q} of {q} (chrono biases)",
                  f"{large:.2f} bits per held-out character (chosen on it), {small:.2f} at the course's size, "
                  f"{counting['5-gram']:.2f} by a 5-gram, {counting['bz2']:.2f} by bz2"):
        assert words in text


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
