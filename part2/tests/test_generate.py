"""Writing: draws have the right frequencies, a carried state changes nothing, beam search finds the optimum."""
import itertools
import math

import pytest
import torch

from part1.cli import InputError
from part2 import generate as script
from part2.dataset import Vocabulary
from part2.generate import ROWS, beam_search, generate, load, random_numbers, sample
from part2.tests.conftest import checkpoint_of

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
    model.linear.weight.data.zero_()
    model.linear.bias.data.copy_(logits)
    return model


def test_chi_square_knows_a_table():
    tenths = torch.full((10,), 100.0)
    tenths[0], tenths[1] = 100 + 29.0852, 100 - 29.0852  # the 5 % point of 9 degrees of freedom is 16.919
    assert chi_square(tenths, torch.full((10,), 0.1)) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_draws_follow_the_softmax_of_tau_times_the_logits(tau, make):
    x = torch.randn(30, generator=seeded(5), dtype=torch.float64) * 2
    vocabulary = Vocabulary([chr(97 + k) for k in range(30)])
    texts = generate(constant(make, x), vocabulary, 626, "", tau, ROWS, seeded(11))
    draws = vocabulary.encode("".join(text[1:] for text in texts))  # the first character of each is uniform
    counts, p = torch.bincount(draws, minlength=30), torch.softmax(tau * x, 0)
    assert counts.sum() == 40_000 and chi_square(counts, p) > 0.001
    assert chi_square(counts, torch.softmax(1.5 * tau * x, 0)) < 1e-9  # and the test is one that can say no
    following = torch.bincount(30 * draws[:-1] + draws[1:], minlength=900)
    assert chi_square(following, torch.outer(p, p).flatten()) > 0.001  # one draw knows nothing of the last


def test_first_characters_and_temperature_zero_are_uniform(make):
    model = constant(make, torch.tensor([0.0, 50, -50, 3, 3, 3, 9]))
    for texts in (generate(model, SEVEN, 1, num_samples=2100, generator=seeded(2)),
                  [text[1:] for text in generate(model, SEVEN, 200, "", 0, 64, seeded())]):
        counts = torch.bincount(SEVEN.encode("".join(texts)), minlength=7)
        assert chi_square(counts, torch.full((7,), 1 / 7)) > 0.001


def test_impossible_classes_are_never_drawn():
    x = torch.tensor([[-2000.0, 0.0, -2000.0, 0.0, -2000.0]])
    uniform = torch.tensor([0.0, 0.3, 0.4999, 0.5001, 1 - 2**-53], dtype=torch.float64)
    assert sample(x.expand(5, -1), 1.0, uniform).tolist() == [1, 1, 1, 3, 3]


@pytest.mark.parametrize("tau", [None, math.inf, 1e300])
def test_a_large_temperature_is_greedy(tau):
    x = 1e30 * torch.randn(100, 9, generator=seeded())
    assert sample(x, tau, torch.rand(100, dtype=torch.float64)).equal(x.argmax(dim=1))


def recomputed(model, vocabulary, length, prompt, temperature, count, seed):
    """What `generate` should write: each text alone, the whole prefix read again for every character."""
    texts = []
    for uniform in random_numbers(seed, 0, length)[:count]:
        written = (vocabulary.encode(prompt) if prompt
                   else sample(torch.zeros(1, vocabulary.vocab_size), 1.0, uniform[:1]))
        while len(written) < length:
            logits = model(written.unsqueeze(0))[0][:, -1]
            written = torch.cat([written, sample(logits, temperature, uniform[len(written)].unsqueeze(0))])
        texts.append(vocabulary.convert_to_string(written))
    return texts


@pytest.mark.parametrize("temperature", [None, 0, 2.0])
@pytest.mark.parametrize("prompt", ["", "badcafe"])
def test_a_carried_state_equals_recomputing_the_prefix(temperature, prompt, make):
    model = make()
    texts = generate(model, SEVEN, 30, prompt, temperature, 4, seeded(7))
    assert texts == recomputed(model, SEVEN, 30, prompt, temperature, 4, 7)
    assert temperature is None or len(set(texts)) == 4


def test_a_sample_does_not_depend_on_how_many_are_drawn(make):
    model = make(hidden=64, dtype=torch.float32, scale=3)
    many = generate(model, SEVEN, 60, "", 1.0, 130, seeded(3))
    assert len(set(many)) == 130
    for number in (1, 64, 65):
        assert generate(model, SEVEN, 60, "", 1.0, number, seeded(3)) == many[:number]


def test_a_long_prompt_is_read_once_and_whole(make, monkeypatch):
    model, read = make(hidden=64, dtype=torch.float32, scale=3), []
    prompt = SEVEN.convert_to_string(torch.randint(7, (1234,), generator=seeded()))
    logits = model(SEVEN.encode(prompt).unsqueeze(0))[0][0, -1].detach()
    torch.testing.assert_close(script.read(model, SEVEN.encode(prompt))[0][0], logits)
    assert beam_search(model, SEVEN, 1235, prompt, 7)[0] == (
        prompt + "abcdefg"[logits.argmax()], pytest.approx(logits.log_softmax(0).max().item(), abs=1e-5))
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda x, state=None: read.append(x.numel()) or forward(x, state))
    many = generate(model, SEVEN, 1260, prompt, 1.0, 130, seeded(3))
    assert sum(read) == 1234 + 3 * ROWS * 25 and len(set(many)) == 130
    for number in (1, 65):
        assert generate(model, SEVEN, 1260, prompt, 1.0, number, seeded(3)) == many[:number]


def test_the_seed_decides(make):
    model = make()
    state = torch.get_rng_state()
    one, again, other = (generate(model, SEVEN, 50, "ab", 1.0, 3, seeded(seed)) for seed in (4, 4, 5))
    assert one == again and not set(one) & set(other)
    assert torch.get_rng_state().equal(state)
    first = generate(model, SEVEN, 50, "ab", 1.0)
    assert first != generate(model, SEVEN, 50, "ab", 1.0)  # without a generator: torch's own randomness
    torch.set_rng_state(state)
    assert first == generate(model, SEVEN, 50, "ab", 1.0)


def test_a_shorter_text_is_the_beginning_of_a_longer_one(make):
    model = make()
    for prompt in ("", "gab"):
        long = generate(model, SEVEN, 60, prompt, 1.0, 4, seeded())
        assert generate(model, SEVEN, 7, prompt, 1.0, 4, seeded()) == [text[:7] for text in long]
        assert all(len(text) == 60 and text.startswith(prompt) for text in long)


def test_writing_switches_dropout_off_and_leaves_the_mode_alone(make):
    model = make(keep=0.5)
    for write in (lambda: generate(model, SEVEN, 60, "a"), lambda: beam_search(model, SEVEN, 60, "a", 3)):
        expected = write()
        assert not model.training and model.train() and write() == expected and model.training
        model.eval()


def test_an_error_leaves_the_mode_alone_too(make, monkeypatch):
    model = make().train()
    monkeypatch.setattr(script, "read", lambda *args: 1 / 0)
    for write in (lambda: generate(model, SEVEN, 9, "a"), lambda: beam_search(model, SEVEN, 9, "a", 3)):
        with pytest.raises(ZeroDivisionError):
            write()
        assert model.training


@pytest.mark.parametrize("arguments, message", [
    ((3, "abcd"), "the prompt has 4 characters, more than the length 3"), ((9, "aXbY"), "has no 'X' 'Y'"),
    ((0,), "at least 1, not 0 and 1"), ((5, "", None, 0), "at least 1, not 5 and 0"),
    ((5, "", -1e-9), "is 0 .uniform. or more"), ((5, "", math.nan), "not nan"), ((5, "", -math.inf), "not -inf")])
def test_what_cannot_be_written_is_refused(arguments, message, make):
    with pytest.raises(InputError, match=message):
        generate(make(), SEVEN, *arguments)


@torch.no_grad()
def log_probability(model, vocabulary, text, prompt):
    """By teacher forcing: the whole text read once."""
    numbers = vocabulary.encode(text)
    log_p = model(numbers[:-1].unsqueeze(0))[0][0].double().log_softmax(dim=1)
    return sum(log_p[t - 1, numbers[t]].item() for t in range(len(prompt), len(text)))


@pytest.mark.parametrize("prompt", ["a", "cab"])
@pytest.mark.parametrize("seed", range(2))
def test_with_enough_beams_the_search_is_exhaustive(prompt, seed, make):
    vocabulary, model = Vocabulary("abc"), make(K=3, seed=seed)
    found = beam_search(model, vocabulary, len(prompt) + 5, prompt, 3**5)
    texts = [prompt + "".join(rest) for rest in itertools.product("abc", repeat=5)]
    everything = {text: log_probability(model, vocabulary, text, prompt) for text in texts}
    assert len(found) == 3**5 and dict(found) == pytest.approx(everything, abs=1e-9)
    assert found[0][0] == max(everything, key=everything.get)
    assert sum(math.exp(score) for _, score in found) == pytest.approx(1)


@pytest.mark.parametrize("size", [2, 30])
def test_beams_are_sorted_different_and_as_probable_as_they_say(size, make):
    model = make(dtype=torch.float32)
    found = beam_search(model, SEVEN, 20, "bad", size)
    scores = [score for _, score in found]
    assert len(found) == len(dict(found)) == size and scores == sorted(scores, reverse=True)
    for text, score in found:
        assert len(text) == 20 and text.startswith("bad")
        assert score == pytest.approx(log_probability(model, SEVEN, text, "bad"), abs=1e-4)


def test_few_beams_and_few_candidates(make):
    model = make()
    assert [text for text, _ in beam_search(model, SEVEN, 60, "a", 1)] == generate(model, SEVEN, 60, "a")  # greedy
    assert [len(beam_search(model, SEVEN, length, "a", 60)) for length in (2, 3, 4)] == [7, 49, 60]
    assert beam_search(model, SEVEN, 3, "abc", 4) == [("abc", 0.0)]  # nothing to continue is certain


@pytest.mark.parametrize("arguments, message", [
    ((9, "", 2), "beam search needs a prompt"), ((9, "a", 0), "at least one beam"),
    ((3, "abcd", 2), "the prompt has 4 characters"), ((9, "zebra", 2), "has no 'r' 'z'")])
def test_what_cannot_be_searched_is_refused(arguments, message, make):
    with pytest.raises(InputError, match=message):
        beam_search(make(), SEVEN, *arguments)


def test_the_script_writes_what_the_function_returns(finished, call):
    checkpoint = ["--checkpoint", finished / "checkpoint.pt"]
    model, vocabulary = load(finished / "checkpoint.pt")
    flags = ["--gen_input", "The", "--length", 30]
    assert call(script, *checkpoint, *flags) == (0, generate(model, vocabulary, 30, "The")[0] + "\n", "")
    expected = "".join(f"--- temperature {tau}, sample {k}\n{text}\n" for tau in (0.5, math.inf)
                       for k, text in enumerate(generate(model, vocabulary, 30, "The", tau, 2, seeded(3))))
    more = ["--temperature", 0.5, "inf", "--num_samples", 2, "--seed", 3]
    assert call(script, *checkpoint, *flags, *more) == (0, expected, "")
    expected = "".join(f"--- log-probability {score:.3f}\n{text}\n"
                       for text, score in beam_search(model, vocabulary, 30, "The", 2))
    assert call(script, *checkpoint, *flags, "--beam_size", 2) == (0, expected, "")


@pytest.mark.parametrize("flags, message", [
    (["--gen_input", "\udcff"], "has no '\\udcff'"), (["--temperature", "-1"], "at least 0"),
    (["--beam_size", 2], "needs a prompt"), (["--beam_size", 2, "--temperature", 1], "goes with neither"),
    (["--device", "tpu"], "--device is one of"), (["--checkpoint", "missing.pt"], "there is no checkpoint")])
def test_wrong_flags_are_one_line(flags, message, finished, refused):
    assert message in refused(script, "--checkpoint", finished / "checkpoint.pt", *flags)


def test_a_checkpoint_holds_the_network_and_its_vocabulary(finished, book):
    model, vocabulary = load(finished / "checkpoint.pt")
    assert vocabulary.characters == "".join(sorted(set(book.read_text())))
    assert not model.training and model.lstm.hidden_size == 6 and model.linear.out_features == vocabulary.vocab_size
    saved = checkpoint_of(finished)["parts"]["model"]
    assert all(parameter.equal(saved[name]) for name, parameter in model.state_dict().items())


@pytest.mark.parametrize("change", [
    lambda c: c.update(extra=None), lambda c: c["parts"].pop("model"), lambda c: c["extra"].update(vocabulary="abc"),
    lambda c: c["extra"].update(vocabulary=3), lambda c: c["parts"]["model"].popitem(),
    lambda c: c["parts"]["model"].update({"lstm.weight_hh_l0": torch.zeros(())}),
    lambda c: c["parts"]["model"].update({"lstm.weight_hh_l0": torch.zeros(24, 6, dtype=torch.cfloat)}),
    lambda c: c["parts"]["model"]["linear.bias"].fill_(math.nan)])
def test_a_checkpoint_without_a_text_model_is_refused(change, finished, tmp_path):
    checkpoint = checkpoint_of(finished)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="does not hold a text model$"):
        load(tmp_path / "checkpoint.pt")
