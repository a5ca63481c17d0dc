"""Writing: draws have the right frequencies, a carried state changes nothing, beam search finds the optimum."""
import itertools
import math

from part1 import run  # before torch, see part1/run.py
import pytest
import torch

from part2 import generate as script
from part2.dataset import TextDataset, Vocabulary
from part2.generate import ROWS, beam_search, generate, random_numbers, sample
from part2.model import load

SEVEN = Vocabulary("abcdefg")


def chi_square(counts, p):
    """The probability (p-value) of counts at least as far from `p` as these; cells under 5 expected are pooled."""
    expected = p.double() * counts.sum()
    few = expected < 5
    if few.any():
        few[expected.masked_fill(few, math.inf).argmin()] = True  # so that the pool itself has enough
        counts = torch.cat([counts[~few], counts[few].sum().unsqueeze(0)])
        expected = torch.cat([expected[~few], expected[few].sum().unsqueeze(0)])
    statistic = ((counts - expected) ** 2 / expected).sum()
    return torch.special.gammaincc(torch.tensor((len(counts) - 1) / 2).double(), statistic / 2).item()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def constant(make, logits):
    """A network that gives the same logits whatever it reads."""
    model = make(K=len(logits), hidden=2)
    with torch.no_grad():
        model.linear.weight.zero_()
        model.linear.bias.copy_(logits)
    return model


# Frequencies

def test_chi_square_knows_a_table():
    # The 5 % points of 1 and 9 degrees of freedom are 3.841 and 16.919.
    assert chi_square(torch.tensor([100 + 13.859, 100 - 13.859]), torch.tensor([0.5, 0.5])) == pytest.approx(0.05, 1e-3)
    tenths = torch.full((10,), 100.0)
    tenths[0], tenths[1] = 100 + 29.0852, 100 - 29.0852
    assert chi_square(tenths, torch.full((10,), 0.1)) == pytest.approx(0.05, rel=1e-3)
    assert chi_square(torch.tensor([50.0, 48, 2, 0]), torch.tensor([0.5, 0.47, 0.02, 0.01])) > 0.5


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_of_tau_times_the_logits(tau, make):
    x = torch.randn(30, generator=seeded(5), dtype=torch.float64) * 2
    vocabulary = Vocabulary([chr(97 + k) for k in range(30)])
    texts = generate(constant(make, x), vocabulary, 3126, "", tau, ROWS, seeded(11))
    draws = vocabulary.encode("".join(text[1:] for text in texts))  # the first character of each is uniform
    assert len(draws) == 200_000
    counts = torch.bincount(draws, minlength=30)
    assert chi_square(counts, torch.softmax(tau * x, 0)) > 0.001
    if tau != 1:
        assert chi_square(counts, torch.softmax(x / tau, 0)) < 1e-9  # and the test is one that can say no
    following = torch.zeros(30, 30).index_put_((draws[:-1], draws[1:]), torch.tensor(1.0), accumulate=True)
    p = torch.softmax(tau * x, 0)
    assert chi_square(following.flatten(), torch.outer(p, p).flatten()) > 0.001  # one draw knows nothing of the last


def test_draws_of_sample_follow_the_softmax_too():
    x = torch.randn(12, generator=seeded(5))
    uniform = torch.rand(200_000, dtype=torch.float64, generator=seeded(6))
    for tau in (0.5, 1.0, 2.0):
        counts = torch.bincount(sample(x.expand(200_000, -1), tau, uniform), minlength=12)
        assert chi_square(counts, torch.softmax(tau * x.double(), 0)) > 0.001
        assert chi_square(counts, torch.softmax(1.5 * tau * x.double(), 0)) < 1e-9


def test_temperature_zero_is_uniform(make):
    model = constant(make, torch.tensor([0.0, 50, -50, 3, 3, 3, 9]))
    text = "".join(text[1:] for text in generate(model, SEVEN, 200, "", 0, 64, seeded()))
    assert chi_square(torch.bincount(SEVEN.encode(text), minlength=7), torch.full((7,), 1 / 7)) > 0.001


def test_an_empty_prompt_starts_uniformly(make):
    texts = generate(constant(make, torch.arange(7.0)), SEVEN, 1, num_samples=2100, generator=seeded(2))
    assert chi_square(torch.bincount(SEVEN.encode("".join(texts)), minlength=7), torch.full((7,), 1 / 7)) > 0.001


@pytest.mark.parametrize("uniform, expected", [
    (0.0, 1), (0.3, 1), (0.4999, 1), (0.5001, 3), (1 - 2**-53, 3)])
def test_impossible_classes_are_never_drawn(uniform, expected):
    x = torch.tensor([[-2000.0, 0.0, -2000.0, 0.0, -2000.0]])
    assert sample(x, 1.0, torch.tensor([uniform], dtype=torch.float64)).tolist() == [expected]


@pytest.mark.parametrize("tau", [None, math.inf, 1e300, 1e9])
@pytest.mark.parametrize("scale", [1, 1e30])
def test_a_large_temperature_is_greedy(tau, scale):
    x = scale * torch.randn(100, 9, generator=seeded())
    assert sample(x, tau, torch.rand(100, dtype=torch.float64)).equal(x.argmax(dim=1))


@pytest.mark.parametrize("tau", [-1, -1e-9, math.nan, -math.inf])
def test_a_temperature_below_zero_is_refused(tau, make):
    with pytest.raises(ValueError, match=r"is 0 \(uniform\) or more, up to inf \(greedy\), not -?(1|nan|inf)"):
        sample(torch.zeros(1, 2), tau, torch.zeros(1, dtype=torch.float64))
    with pytest.raises(ValueError, match="temperature"):
        generate(make(), SEVEN, 5, temperature=tau)


# The carried state

def recomputed(model, vocabulary, length, prompt, temperature, count, seed):
    """What `generate` should write: each text alone, the whole prefix read again for every character."""
    starts, uniform = random_numbers(vocabulary.vocab_size, length, 0, count, seed)
    texts = []
    for k in range(count):
        written = vocabulary.encode(prompt) if prompt else starts[k:k + 1]
        while len(written) < length:
            logits = model(written.unsqueeze(0))[0][:, -1]
            written = torch.cat([written, sample(logits, temperature, uniform[k:k + 1, len(written)])])
        texts.append(vocabulary.convert_to_string(written))
    return texts


@pytest.mark.parametrize("temperature", [None, 0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("prompt", ["", "a", "badcafe"])
def test_a_carried_state_equals_recomputing_the_prefix(temperature, prompt, make):
    model = make()
    texts = generate(model, SEVEN, 30, prompt, temperature, 4, seeded(7))
    assert texts == recomputed(model, SEVEN, 30, prompt, temperature, 4, 7)
    assert temperature is None or len(set(texts)) == 4


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_a_sample_does_not_depend_on_how_many_are_drawn(temperature, make):
    model = make(hidden=64, dtype=torch.float32, scale=3)
    many = generate(model, SEVEN, 60, "", temperature, 130, seeded(3))
    for number in (1, 5, 64, 65, 129):
        assert generate(model, SEVEN, 60, "", temperature, number, seeded(3)) == many[:number]
    assert len(set(many)) > (100 if temperature else 6)


def test_the_seed_decides(make):
    model = make()
    one, again, other = (generate(model, SEVEN, 50, "ab", 1.0, 3, seeded(seed)) for seed in (4, 4, 5))
    assert one == again and not set(one) & set(other)
    torch.manual_seed(0)
    first = generate(model, SEVEN, 50, "ab", 1.0)
    assert first != generate(model, SEVEN, 50, "ab", 1.0)  # without a generator: torch's own randomness
    torch.manual_seed(0)
    assert first == generate(model, SEVEN, 50, "ab", 1.0)
    state = torch.get_rng_state()
    generate(model, SEVEN, 50, "ab", 1.0, generator=seeded())
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("prompt", ["", "g", "gab"])
def test_a_text_has_its_length_and_begins_with_its_prompt(prompt, make):
    for length in range(max(1, len(prompt)), 8):
        for text in generate(make(), SEVEN, length, prompt, 1.0, 3):
            assert len(text) == length and text.startswith(prompt)


def test_a_shorter_text_is_the_beginning_of_a_longer_one(make):
    model = make()
    long = generate(model, SEVEN, 60, "", 1.0, 4, seeded())
    for length in (1, 7, 30):
        assert generate(model, SEVEN, length, "", 1.0, 4, seeded()) == [text[:length] for text in long]


@pytest.mark.parametrize("keep, training", [(0.5, True), (0.5, False)])
def test_writing_switches_dropout_off_and_leaves_the_mode_alone(keep, training, make):
    model = make(keep=keep)

    def written():
        return [(generate(model, SEVEN, 12, prompt), beam_search(model, SEVEN, 12, prompt, 3)) for prompt in
                ("abcdefg", "gfedcba", "aaaaaaa", "bagbagb", "cafecaf")]

    expected = written()
    model.train(training)
    assert written() == expected and model.training is training


def test_a_text_dataset_is_a_vocabulary(finished, book):
    model, vocabulary = load(finished / "checkpoint.pt")
    assert (generate(model, TextDataset(book, 5), 20, "The", 1.0, 2, seeded())
            == generate(model, vocabulary, 20, "The", 1.0, 2, seeded()))


@pytest.mark.parametrize("arguments, message", [
    ((3, "abcd"), "the prompt has 4 characters, more than the length 3"),
    ((9, "aXbY"), "the training text has no 'X' 'Y'"),
    ((0,), "at least 1, not 0 and 1"), ((5, "", None, 0), "at least 1, not 5 and 0")])
def test_what_cannot_be_written_is_refused(arguments, message, make):
    with pytest.raises(ValueError, match=message):
        generate(make(), SEVEN, *arguments)


# Beam search

@torch.no_grad()
def log_probability(model, vocabulary, text, prompt):
    """By teacher forcing: the whole text read once."""
    numbers = vocabulary.encode(text)
    log_p = model(numbers[:-1].unsqueeze(0))[0][0].double().log_softmax(dim=1)
    return sum(log_p[t - 1, numbers[t]].item() for t in range(len(prompt), len(text)))


@pytest.mark.parametrize("prompt", ["a", "cab"])
@pytest.mark.parametrize("seed", range(4))
def test_with_enough_beams_the_search_is_exhaustive(prompt, seed, make):
    vocabulary, model = Vocabulary("abc"), make(K=3, seed=seed)
    found = beam_search(model, vocabulary, len(prompt) + 5, prompt, 3**5)
    everything = {prompt + "".join(rest): None for rest in itertools.product("abc", repeat=5)}
    for text in everything:
        everything[text] = log_probability(model, vocabulary, text, prompt)
    assert len(found) == 3**5 and {text for text, _ in found} == set(everything)
    for text, score in found:
        assert score == pytest.approx(everything[text], abs=1e-9)
    assert found[0][0] == max(everything, key=everything.get)
    assert sum(math.exp(score) for _, score in found) == pytest.approx(1)


def test_more_beams_can_find_what_greedy_search_misses(make):
    better = 0
    for seed in range(6):
        model = make(seed=seed)
        scores = [beam_search(model, SEVEN, 12, "a", size)[0][1] for size in (1, 200)]
        assert scores[1] >= scores[0] - 1e-9
        better += scores[1] > scores[0] + 0.01
    assert better


@pytest.mark.parametrize("size", [1, 2, 5, 30])
def test_beams_are_sorted_different_and_as_probable_as_they_say(size, make):
    model = make(dtype=torch.float32)
    found = beam_search(model, SEVEN, 20, "bad", size)
    scores = [score for _, score in found]
    assert len(found) == len(dict(found)) == size and scores == sorted(scores, reverse=True)
    for text, score in found:
        assert len(text) == 20 and text.startswith("bad")
        assert score == pytest.approx(log_probability(model, SEVEN, text, "bad"), abs=1e-4)


def test_one_beam_is_greedy(make):
    for seed in range(5):
        model = make(seed=seed)
        (text, _), = beam_search(model, SEVEN, 60, "a", 1)
        assert [text] == generate(model, SEVEN, 60, "a")


@pytest.mark.parametrize("length, number", [(2, 7), (3, 49), (4, 60)])
def test_there_are_never_more_beams_than_candidates(length, number, make):
    assert len(beam_search(make(), SEVEN, length, "a", 60)) == number


def test_nothing_to_continue_is_certain(make):
    assert beam_search(make(), SEVEN, 3, "abc", 4) == [("abc", 0.0)]


@pytest.mark.parametrize("arguments, message", [
    ((9, "", 2), "beam search needs a prompt"), ((9, "a", 0), "beam size must be at least 1, not 0"),
    ((3, "abcd", 2), "the prompt has 4 characters"), ((9, "zebra", 2), "has no 'r' 'z'")])
def test_what_cannot_be_searched_is_refused(arguments, message, make):
    with pytest.raises(ValueError, match=message):
        beam_search(make(), SEVEN, *arguments)


# The script

def test_the_script_writes_what_the_function_returns(finished, call):
    checkpoint = ["--checkpoint", finished / "checkpoint.pt"]
    model, vocabulary = load(finished / "checkpoint.pt")
    flags = ["--gen_input", "The", "--length", 30]
    assert call(script, *checkpoint, *flags) == (0, generate(model, vocabulary, 30, "The")[0] + "\n", "")
    status, out, err = call(script, *checkpoint, *flags, "--temperature", 0, 1.5, "inf", "--num_samples", 2, "--seed",
                            3)
    expected = ""
    for tau, name in ((0, "0"), (1.5, "1.5"), (math.inf, "inf")):
        for k, text in enumerate(generate(model, vocabulary, 30, "The", tau, 2, seeded(3))):
            expected += f"--- temperature {name}, sample {k}\n{text}\n"
    assert (status, out, err) == (0, expected, "")
    status, out, err = call(script, *checkpoint, *flags, "--beam_size", 2)
    assert (status, err) == (0, "")
    assert out == "".join(f"--- log-probability {score:.3f}\n{text}\n"
                          for text, score in beam_search(model, vocabulary, 30, "The", 2))


@pytest.mark.parametrize("flags, message", [
    (["--gen_input", "Xylophon£"], "has no 'X' 'l' 'p' '£'"),
    (["--gen_input", "The", "--length", 2], "more than the length"),
    (["--temperature", "-1"], "at least 0"), (["--temperature", "nan"], "at least 0"), (["--temperature"], "argument"),
    (["--beam_size", 2], "needs a prompt"), (["--beam_size", 0], "at least 1"), (["--num_samples", 0], "at least 1"),
    (["--beam_size", 2, "--temperature", 1], "goes with neither"), (["--length", "1e3"], "whole number"),
    (["--seed", -1], "at least 0"), (["--device", "tpu"], "--device is one of"), (["--gen_input", "\udcff"], "udcff")])
def test_wrong_flags_are_one_line(flags, message, finished, refused):
    assert message in refused(script, "--checkpoint", finished / "checkpoint.pt", *flags)


@pytest.mark.parametrize("name, message", [
    ("missing.pt", "there is no checkpoint"), ("config.json", "torn, damaged or not a checkpoint"),
    ("", "is a folder, not a checkpoint")])
def test_wrong_checkpoints_are_one_line(name, message, finished, refused):
    assert message in refused(script, "--checkpoint", finished / name)
    assert "required: --checkpoint" in refused(script)
