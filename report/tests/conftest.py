"""Fixtures of the report's tests: scripts called in this process, and made-up results of the quick preset."""
from part1 import files
from part1.tests.conftest import benchmark_here, call, no_rendering  # noqa: F401 (fixtures)
from report.studies import GRAPHS

NASTY = ("\\ { } $ & # _ % ~ ^ ' ` \" < > | -- ,, !` ?` “curly” ‘quotes’ – — … é ñ ç ß æ Ø £ \u00a0[x]\n\n  * Ω\t"
         + "w" * 60)


def make_results(folder, text):
    """Fill the new `folder` with made-up results of most quick studies; a network wrote `text`."""
    folder.mkdir(parents=True)
    files.write_csv(folder / "lengths.csv", [
        {"model_type": model, "palindrome_length": T, "seed": seed, "steps": 100 * T, "accuracy": accuracy,
         "steps_to_target": None, "seconds": 9.5, "dataset": "palindrome", "input_dim": 10, "num_hidden": 128,
         "init": init, "forget_bias": None, "batch_size": 128, "optimizer": "rmsprop", "learning_rate": 0.001,
         "max_norm": 10.0, "eval_size": 2000, "train_steps": 6000}
        for model, T, accuracy, init in (("RNN", 5, 1.0, "orthogonal"), ("RNN", 50, 0.4, "orthogonal"),
                                         ("LSTM", 5, 1.0, "xavier")) for seed in range(5)])
    files.write_csv(folder / "gradients.csv", [
        {"model_type": model, "input": "one-hot", "state": "h", "t": t, "seeds": 3, "norm": 0.5 ** (20 - t),
         "factor": 2.0} for model in ("RNN", "W" * 60) for t in range(1, 20)])
    files.write_json(folder / "text.json", {
        "settings": {"txt_file": text, "train_steps": 900, "seq_length": 30, "batch_size": 64, "lstm_num_hidden": 128,
                     "dropout_keep_prob": 1.0, "weight_decay": 0.0, "max_norm": 5.0, "eval_fraction": 0.05,
                     "gen_input": ""},
        "characters": 75062, "vocabulary_size": 61, "parameters": 237757,
        "result": {"steps": 900, "loss": 1.3, "accuracy": 0.6, "eval_loss": 1.4, "bits_per_character": 2.0,
                   "seconds": 9.5},
        "best": {"step": 600, "eval_loss": 1.39, "eval_accuracy": 0.59, "bits_per_character": 2.0},
        "stages": [{"update": update, "samples": [text, NASTY]} for update in (300, 600, 900)],
        "temperatures": [{"temperature": tau, "samples": [text, NASTY]} for tau in (0.5, None)],
        "sentences": [{"prompt": text[:8], "greedy": text, "temperature 2": text[:8] + NASTY}],
        "beams": [{"beam_size": size, "text": text, "log_probability": -60.0 + size} for size in (1, 10)]})
    for study in GRAPHS:
        study.run(folder.parent / "work", folder)
