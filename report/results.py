"""The result files behind the report: what each must hold, and how figures, tables and the page read them.

`read_result` checks names and types. Whether the values are enough for a figure or a table shows only when it is made:
errors that happen while `making` it name the files.
"""
import contextlib
import warnings
from fnmatch import fnmatch

from part1 import files
from part1.cli import InputError

WRITERS = {"text": "course's", "text_best": "best"}  # text models that are measured, by what their settings are called
# A kind is what a value must be, in words, and the test of it.
text = "text", lambda value: isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
whole = "a non-negative integer", lambda value: type(value) is int and 0 <= value < 2**53
number = "a number", lambda value: type(value) in (int, float) and abs(value) < 1e300
share = "a number from 0 to 1", lambda value: number[1](value) and 0 <= value <= 1
number_or_nothing = "a number or nothing", lambda value: value is None or number[1](value)
anything = "anything", lambda value: True
# A shape is a kind; a dict from names to shapes; or a list with the shape of all entries, of which there is at least
# one. That of a CSV file is the shape of its rows.
SWEEP = {"model_type": text, "palindrome_length": whole, "seed": whole, "steps": whole, "accuracy": share,
         "steps_to_target": number_or_nothing, "seconds": number, "dataset": text, "input_dim": whole,
         "num_hidden": whole, "init": text, "forget_bias": anything, "batch_size": whole, "optimizer": text,
         "learning_rate": number, "max_norm": number, "eval_size": whole, "train_steps": whole}
TEXT = {"settings": {"txt_file": text, "train_steps": whole, "seq_length": whole, "batch_size": whole,
                     "lstm_num_hidden": whole, "dropout_keep_prob": share, "weight_decay": number, "max_norm": number,
                     "eval_fraction": share},
        "characters": whole, "vocabulary_size": whole, "parameters": whole,
        "result": {"steps": whole, "loss": number, "accuracy": share, "eval_loss": number,
                   "bits_per_character": number, "seconds": number},
        "best": {"step": whole, "eval_loss": number, "eval_accuracy": share, "bits_per_character": number},
        "stages": [{"update": whole, "samples": [text]}],
        "temperatures": [{"temperature": number_or_nothing, "samples": [text]}],
        "sentences": [{"prompt": text, "greedy": text, "temperature 2": text}],
        "beams": [{"beam_size": whole, "text": text, "log_probability": number}]}
SHAPES = {  # by the file's name: the first that fits
    "seconds.json": number,
    "graph_*.json": {"edition": text, "nodes": [text], "Atilde": [[whole]], "Ahat": [[number]], "updates": whole,
                     "path": [text]},
    "text*.json": TEXT,
    "text_settings.csv": {"setting": text, "lstm_num_hidden": whole, "seq_length": whole, "batch_size": whole,
                          "learning_rate": number, "schedule": text, "learning_rate_step": whole,
                          "learning_rate_decay": number, "carry_state": anything,
                          "dropout_keep_prob": share, "recurrent_keep_prob": share, "weight_decay": number,
                          "train_steps": whole, "step": whole, "bits_per_character": number},
    "text_settings_curves.csv": {"setting": text, "step": whole, "eval_loss": number_or_nothing},
    "text*_curves.csv": {"step": whole, "loss": number, "accuracy": share, "eval_loss": number_or_nothing,
                         "eval_accuracy": number_or_nothing},
    "text*_samples.csv": {"source": text, "temperature": number_or_nothing, "measure": text, "texts": whole,
                          "mean": number, "low": number, "high": number, "largest": number},
    "text*_context.csv": {"context": whole, "bits": number, "standard_error": number, "gain": number_or_nothing,
                          "gain_error": number_or_nothing},
    "text*_beams.csv": {"method": text, "length": whole, "log_probability": number, "agree": number, "equal": share,
                        "distinct": share},
    "ngram.csv": {"model": text, "held_out_bits": number, "whole_text_bits": number_or_nothing},
    "*_curves.csv": {"model_type": text, "palindrome_length": whole, "seed": whole, "step": whole,
                          "accuracy": share, "eval_loss": number},
    "gradients*.csv": {"model_type": text, "input": text, "state": text, "t": whole, "seeds": whole, "norm": number,
                       "factor": number},
    "traces.csv": {"model_type": text, "start": text, "optimizer": text, "T": whole, "learning_rate": number,
                   "seed": whole, "step": whole, "moved": number, "sigma_1": number, "slope": share,
                   "keep_sign": share, "readable": share},
    "directions.csv": {"model_type": text, "start": text, "seed": whole, "state": text, "t": whole, "back": whole,
                       "largest": number, "above_0.01": whole},
    "states*.csv": {"model_type": text, "start": text, "seed": whole, "sigma_1": number, "slope": share,
                    "mean_field": number_or_nothing, "keep_sign": share, "readable": share,
                    **{f"{gate}_{when}": number_or_nothing for gate in "if" for when in ("first", "later")}},
    "beyond*.csv": {"model_type": text, "init": text, "trained_at": whole, "seed": whole, "T": whole,
                    "eval_size": whole, "accuracy": share},
    "benchmark_part1.csv": {"model_type": text, "threads": whole, "GOMP_SPINCOUNT": anything, "T": whole,
                            "bptt/torch": number,
                            **{f"{network}_{value}": number for network in ("bptt", "autograd", "torch", "floor")
                               for value in ("ms", "q1", "q3")}},
    "optimizers*.csv": {"method": text, **SWEEP},
    "rates_*.csv": {"method": text, **SWEEP},
    "*.csv": SWEEP,
}


def check(value, shape, where):
    """Raise `InputError` unless `value`, which stands `where` it says (a path, and a place in it), has the `shape`."""
    if isinstance(shape, dict):
        if missing := [name for name in shape if not isinstance(value, dict) or name not in value]:
            raise InputError(f"{where} has no {', '.join(missing)}")
        for name, inner in shape.items():
            check(value[name], inner, f"{where}, {name}")
    elif isinstance(shape, list):
        if not isinstance(value, list) or not value:
            raise InputError(f"{where} must be a list with entries")
        for k, entry in enumerate(value, 1):
            check(entry, shape[0], f"{where}, entry {k}")
    elif not shape[1](value):
        raise InputError(f"{where} must be {shape[0]}, not {str(value)[:40]!r}")


def read_result(path):
    """The content of the result file `path`: the rows of a CSV file, as `files.read_csv` gives them, or a JSON file's.

    Raises `InputError`, with the file's name and the place in it, for one that does not have its shape.
    """
    shape = next(shape for pattern, shape in SHAPES.items() if fnmatch(path.name, pattern))
    if path.suffix == ".json":
        content = files.read_json(path)
        check(content, shape, files.display(path))
    else:
        content, name = files.read_csv(path, shape), files.display(path)
        for k, row in enumerate(content, 2):
            check(row, shape, f"line {k} of {name}")
    return content


@contextlib.contextmanager
def making(what, paths):
    """Within this, `what` is made from the result files `paths`; an error is an `InputError` that names the files.

    Names and types in them are right when `read_result` has read them, but rows may be missing or numbers impossible.
    """
    try:
        with warnings.catch_warnings():
            for category in (RuntimeWarning, UserWarning):  # NumPy's and matplotlib's, of values that make no sense
                warnings.simplefilter("error", category)
            yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeWarning, UserWarning) as error:
        names = ", ".join(files.display(path) for path in paths)
        raise InputError(f"{what} cannot be made of {names}: rows or values are missing or impossible "
                         f"({type(error).__name__}: {error})") from error
