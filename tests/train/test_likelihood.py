"""Likelihoods of texts: the laws of probability, what one plain run of the model says, and exact boundaries."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data.tokenizers import load_tokenizer
from model.decoder import LanguageModel
from model.encoder import MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.families import bert, gpt2, t5
from train.few_shot import WholeTexts, text_scores
from train.likelihood import LikelihoodError, Request, Scorer
from train.pretrained import Opened
from train.prompt_format import PromptFormat

PUBLISHED = Path(__file__).parents[1] / "data/published"
PIECES = {"gpt2": LanguageModel, "bert": MaskedLanguageModel, "t5": EncoderDecoder}
ROOM = 48


@pytest.fixture(scope="module")
def scorers():
    """A random decoder, masked model and encoder-decoder, each with its vocabulary."""

    def made(name):
        tokenizer = load_tokenizer(PUBLISHED / name)
        family = {"gpt2": gpt2, "bert": bert, "t5": t5}[name]
        options = {} if name == "t5" else {"max_length": ROOM}
        config = family.config("small" if name == "t5" else "tiny", vocab_size=tokenizer.vocab_size, **options)
        if name == "t5":
            config = dataclasses.replace(
                config,
                num_layers=1,
                num_decoder_layers=1,
                hidden_size=32,
                attention=dataclasses.replace(config.attention, num_heads=2, head_size=16),
            )
        graph, params = nnx.split(PIECES[name](config, rngs=nnx.Rngs(0)))
        draw = np.random.default_rng(0)
        params = jax.tree.map(lambda leaf: leaf + 0.1 * draw.normal(size=leaf.shape).astype(np.float32), params)
        return Scorer(Opened(nnx.merge(graph, params), tokenizer, config, name))

    return {name: made(name) for name in PIECES}


def logits(scorer, tokens, **source):
    """Log-probabilities of every token at every place, by one plain run of the model."""
    ids = jnp.asarray(tokens, jnp.int32)[None]
    places = jnp.arange(ids.shape[1], dtype=jnp.int32)[None]
    hidden = scorer.opened.model(ids, places, jnp.ones_like(ids), **source)
    return np.asarray(jax.nn.log_softmax(scorer.opened.model.predict_tokens(hidden)[0]))


def test_a_decoder_is_scored_as_one_plain_run_scores_it(scorers):
    scorer = scorers["gpt2"]
    request = scorer.encode("The cat sat on", " the mat")
    (found,) = scorer.score([request])
    tokens = np.concatenate(request)
    by_hand = logits(scorer, tokens[:-1])[len(request.context) - 1 :]
    expected = [by_hand[n, token] for n, token in enumerate(request.continuation)]
    assert found.nats == pytest.approx(sum(expected), abs=1e-4)
    assert found.greedy == all(row.argmax() == token for row, token in zip(by_hand, request.continuation, strict=True))


def test_probabilities_of_all_next_tokens_add_up_and_the_best_is_greedy(scorers):
    scorer = scorers["gpt2"]
    context = scorer.tokenizer.encode("A cat")
    every = [Request(context, np.array([token], np.int32)) for token in range(scorer.tokenizer.vocab_size)]
    found = scorer.score(every)
    assert np.exp([one.nats for one in found]).sum() == pytest.approx(1.0, abs=1e-4)
    assert [one.greedy for one in found].count(True) == 1
    assert max(found, key=lambda one: one.nats).greedy


def test_the_chain_rule(scorers):
    scorer = scorers["gpt2"]
    a, b, c = (scorer.tokenizer.encode(text) for text in ("one two", " three", " four five"))
    whole, first, second = scorer.score(
        [Request(a, np.concatenate([b, c])), Request(a, b), Request(np.concatenate([a, b]), c)]
    )
    assert whole.nats == pytest.approx(first.nats + second.nats, abs=1e-4)


@pytest.mark.parametrize("name", list(PIECES))
def test_what_shares_a_batch_changes_nothing_and_the_order_is_kept(scorers, name):
    scorer, draw = scorers[name], np.random.default_rng(3)
    words = ["cat", "sat", "mat", "dog", "the", "on"]
    requests = [
        scorer.encode(" ".join(draw.choice(words, draw.integers(1, 8))), " " + " ".join(draw.choice(words, size)))
        for size in (1, 3, 2, 1)
    ]
    requests.append(requests[2])
    together = [one.nats for one in scorer.score(requests)]
    alone = [scorer.score([request])[0].nats for request in requests]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert together[-1] == together[2] and len({round(value, 3) for value in together}) == 4


def test_an_encoder_decoder_scores_its_target(scorers):
    scorer = scorers["t5"]
    request = scorer.encode("The cat sat", "on the mat")
    (found,) = scorer.score([request])
    source = jnp.asarray(request.context)[None]
    given = {
        "source_tokens": source,
        "source_positions": jnp.arange(source.shape[1], dtype=jnp.int32)[None],
        "source_segments": jnp.ones_like(source),
    }
    read = np.concatenate([[scorer.manner.start], request.continuation[:-1]])
    by_hand = logits(scorer, read, **given)
    assert request.context[-1] == scorer.tokenizer.special.eos and request.continuation[-1] != request.context[-1]
    assert found.nats == pytest.approx(sum(by_hand[n, t] for n, t in enumerate(request.continuation)), abs=1e-4)


def test_a_masked_model_hides_one_token_at_a_time(scorers):
    scorer = scorers["bert"]
    request, special = scorer.encode("the cat", " sat on"), scorer.tokenizer.special
    (found,) = scorer.score([request])
    whole = np.concatenate([[special.cls], request.context, request.continuation, [special.sep]])
    expected = 0.0
    for at in range(1 + len(request.context), len(whole) - 1):
        hidden = whole.copy()
        hidden[at] = special.mask
        expected += logits(scorer, hidden)[at, whole[at]]
    assert found.nats == pytest.approx(expected, abs=1e-4)


def test_a_prefix_is_seen_both_ways(scorers):
    scorer = Scorer(scorers["gpt2"].opened)
    request = scorer.encode("one two three", " four")
    plain = scorer.score([request])[0].nats
    scorer.manner = PromptFormat(prefix=True)
    tokens = np.concatenate(request)[:-1]
    prefix = jnp.asarray(np.arange(len(tokens)) < len(request.context))[None]
    expected = logits(scorer, tokens, prefix=prefix)[len(request.context) - 1 :]
    both = scorer.score([request])[0].nats
    assert both == pytest.approx(sum(expected[n, t] for n, t in enumerate(request.continuation)), abs=1e-4)
    assert abs(both - plain) > 1e-3


@pytest.mark.parametrize("name", list(PIECES)[:2])
@pytest.mark.parametrize(
    ("context", "continuation"), [("The cat", " sat."), ("Say ", "no"), ("", "cat"), ("It's  ", " no!")]
)
def test_context_and_continuation_are_the_whole_text(scorers, name, context, continuation):
    scorer = scorers[name]
    request = scorer.encode(context, continuation)
    whole = scorer.tokenizer.encode(context + continuation).tolist()
    found = np.concatenate(request).tolist()
    assert found == whole or (context == "" and found[1:] == whole)
    assert request.continuation.tolist() == whole[len(scorer.tokenizer.encode(context.rstrip())) :]


def test_contexts_that_are_too_long_lose_their_beginning(scorers):
    scorer = Scorer(scorers["gpt2"].opened)
    draw = np.random.default_rng(0).integers(0, 200, 100).astype(np.int32)
    long, short = Request(draw, draw[:3]), Request(draw[100 - (ROOM + 1 - 3) :], draw[:3])
    found = scorer.score([long, short])
    assert found[0] == found[1] and scorer.cut == 1
    masked = Scorer(scorers["bert"].opened)
    words = np.random.default_rng(0).integers(5, 11, 100).astype(np.int32)
    one, other = masked.score([Request(words, words[:2]), Request(words[100 - (ROOM - 4) :], words[:2])])
    assert one == other and masked.cut == 1
    with pytest.raises(LikelihoodError, match=f"has 100 tokens, and the model reads {ROOM}"):
        scorer.score([Request(draw[:1], draw)])


@pytest.mark.parametrize("length", [1, 2, 7, 30, 48])
def test_windows_score_every_token_once_with_all_the_context_that_fits(scorers, length):
    scorer = scorers["gpt2"]
    ids = np.random.default_rng(1).integers(0, 200, 30).astype(np.int32)
    windows = scorer.windows(ids, length)
    assert np.concatenate([window.continuation for window in windows]).tolist() == ids.tolist()
    given = [scorer.prefix, *ids.tolist()]
    for window, begin in zip(windows, range(0, 30, length), strict=True):
        end = min(begin + length, 30)
        assert len(window.context) + len(window.continuation) - 1 == min(end, length)
        assert window.context.tolist() == given[max(0, end - length) : begin + 1]
    if length >= 30:
        request = Request(np.array([scorer.prefix], np.int32), ids)
        assert scorer.score(windows) == scorer.score([request])


def test_whole_texts_have_perplexities_by_token_word_and_byte(scorers):
    scorer = scorers["gpt2"]
    texts = ["The cat sat on the mat. " * 12, "A dog."]
    scores = text_scores(scorer, WholeTexts(), texts)
    size, words = sum(map(len, texts)), 12 * 6 + 1 + 2
    nats = np.log(scores["byte_perplexity"]) * size
    assert scores["bits_per_byte"] == pytest.approx(np.log2(scores["byte_perplexity"]))
    assert np.log(scores["word_perplexity"]) * words == pytest.approx(nats)
    tokens = sum(len(scorer.tokenizer.encode(text)) for text in texts)
    assert np.log(scores["perplexity"]) * tokens == pytest.approx(nats)


def test_what_has_no_likelihood_says_so(scorers):
    with pytest.raises(LikelihoodError, match="is no decoder"):
        scorers["bert"].windows(np.arange(3))
    with pytest.raises(LikelihoodError, match="adds no token behind 'cat'; let it begin with a space"):
        scorers["gpt2"].encode("cat", "")
