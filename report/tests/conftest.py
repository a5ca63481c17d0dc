"""Fixtures of the report's tests: scripts called in this process, and made-up results of the quick preset."""
from part1 import files
from part1.tests.conftest import call  # noqa: F401 (a fixture)
from report.studies import GRAPHS

NASTY = ("\\ { } $ & # _ % ~ ^ ' ` \" < > | -- ,, !` ?` “curly” ‘quotes’ – — … é ñ ç ß æ Ø £ \u00a0[x]\n\n  * Ω\t"
         + "w" * 60)


def make_results(folder, text):
    """Fill the new `folder` with made-up results of all quick studies but the binary one; a network wrote `text`."""
    folder.mkdir(parents=True)
    files.write_csv(folder / "lengths.csv", [
        {"model_type": model, "palindrome_length": T, "seed": seed, "steps": 100 * T, "accuracy": accuracy,
         "init": init, "forget_bias": None, "optimizer": "rmsprop"}
        for model, T, accuracy, init in (("RNN", 5, 1.0, "orthogonal"), ("RNN", 50, 0.4, "orthogonal"),
                                         ("LSTM", 5, 1.0, "xavier")) for seed in range(5)])
    files.write_csv(folder / "gradients.csv", [
        {"model_type": model, "input": "one-hot", "state": "h", "t": t, "seeds": 3, "norm": 0.5 ** (20 - t)}
        for model in ("RNN", "W" * 60) for t in range(1, 20)])
    files.write_json(folder / "text.json", {
        "settings": {"txt_file": text, "seq_length": 30, "dropout_keep_prob": 1.0, "gen_input": ""},
        "characters": 75062, "vocabulary_size": 61, "parameters": 237757,
        "result": {"steps": 900, "accuracy": 0.6, "bits_per_character": 2.0},
        "stages": [{"update": update, "samples": [text, NASTY]} for update in (300, 600, 900)],
        "temperatures": [{"temperature": tau, "samples": [text, NASTY]} for tau in (0.5, None)],
        "sentences": [{"prompt": text[:8], "greedy": text, "temperature 2": text[:8] + NASTY}],
        "beams": [{"beam_size": size, "text": text, "log_probability": -60.0 + size} for size in (1, 10)]})
    for study in GRAPHS:
        study.run(folder.parent / "work", folder)
