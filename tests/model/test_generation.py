"""Generation: what the cache answers is what the model answers, and what is written is what the definitions say."""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from model import generation
from model.beam import beam_search
from model.decoder import LanguageModel
from model.encoder import MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.generation import Writing, generate, prepare, read_prompts
from model.output import Output
from model.positions import LearnedPositions, RelativeBuckets
from model.quantized import QuantizedLinear, quantize
from model.ragged import GenerationError, padded
from model.rotary import Rotary
from model.sampling import Sampling
from train.pretrained import load

TWINS = Path(__file__).parents[1] / "twins"
DECODERS = ("gpt2", "llama2", "llama3", "mistral", "qwen2", "qwen3")
TRANSLATORS = ("t5", "t5_v1_1", "marian")
LATER = ("llama2", "llama3", "mistral", "qwen2", "t5_v1_1", "marian")  # near to the others, which come first
PLAIN = {"num_token_types": 0, "norm_embeddings": False, "output": Output(), "norm_placement": "pre"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name in LATER else name for name in (*DECODERS, *TRANSLATORS)
    ],
)
def twin(request):
    """A twin made ready, its stored greedy texts, and what its decoder begins with."""
    loaded, stored = load(TWINS / request.param), load_file(TWINS / request.param / "expected.safetensors")
    two_sided = request.param in TRANSLATORS
    prompts = stored["greedy_source" if two_sided else "greedy_prompt"]
    new = stored["greedy"][:, 1:] if two_sided else stored["greedy"][:, prompts.shape[1] :]
    return (
        loaded,
        prepare(loaded.model),
        prompts,
        new,
        loaded.fields.get("decoder_start_token_id") if two_sided else None,
    )


def whole_logits(loaded, prompt, new, start):
    """Logits before each new token, by one pass over everything without a cache; of one shape, so that it is compiled once."""

    def row(ids, length):
        return np.pad(ids, (0, length - len(ids)))[None]

    if start is None:
        logits = loaded.outputs(input_ids=row(np.concatenate([prompt, new]), 17))["logits"][0]
        return logits[len(prompt) - 1 :][: len(new)]
    mask, decoder = row(np.ones(len(prompt), int), 5), row(np.concatenate([[start], new[:-1]]), 12)
    return loaded.outputs(input_ids=row(prompt, 5), attention_mask=mask, decoder_input_ids=decoder)["logits"][
        0, : len(new)
    ]


def test_greedy_text_is_the_published_one(twin):
    _, ready, prompts, new, start = twin
    written = generate(ready, list(prompts), max_new_tokens=new.shape[1], start_token=start)
    np.testing.assert_array_equal([row[0].tokens for row in written], new)
    assert {row[0].reason for row in written} == {"length"}


def test_cached_logits_are_the_uncached_at_every_step(twin):
    """In a ragged batch, padded; layers apart."""
    loaded, ready, prompts, new, start = twin
    rows, steps = [prompts[0], prompts[1][:3]], 6
    side = padded(rows, 2, 8, left=start is None)
    begin = None if start is None else jnp.full((2, 1), start, jnp.int32)
    logits, cache = jax.jit(lambda params: read_prompts(nnx.merge(ready.graph, params), side, begin, 8))(ready.params)
    found, own = [logits], np.array([len(row) for row in rows]) if start is None else np.ones(2, int)

    @jax.jit
    def extend(params, cache, tokens, positions):
        model = nnx.merge(ready.graph, params)
        hidden, cache = model.extend(cache, tokens, positions, jnp.ones_like(tokens))
        return model.predict_tokens(hidden)[:, 0], cache

    for step in range(steps - 1):
        logits, cache = extend(
            ready.params, cache, jnp.asarray(new[:, step : step + 1], jnp.int32), jnp.asarray(own + step)[:, None]
        )
        found.append(logits)
    for row, prompt in enumerate(rows):
        expected = whole_logits(loaded, prompt, new[row, :steps], start)
        np.testing.assert_allclose(np.stack(found)[:, row], expected, rtol=1e-4, atol=1e-4)


def test_rows_and_scores_of_a_ragged_batch_are_those_of_a_whole_pass_of_each(twin):
    loaded, ready, prompts, _, start = twin
    rows = [prompts[0], prompts[1][:2]]
    for prompt, (found,) in zip(rows, generate(ready, rows, max_new_tokens=12, start_token=start), strict=True):
        logits = whole_logits(loaded, prompt, found.tokens, start)
        np.testing.assert_array_equal(found.tokens, logits.argmax(-1))
        expected = jax.nn.log_softmax(logits)[np.arange(12), found.tokens]
        np.testing.assert_allclose(found.log_probabilities, expected, atol=1e-4)


@pytest.fixture(scope="module")
def ready(tiny, make_model):
    return prepare(make_model(tiny(**PLAIN, positions=Rotary()), LanguageModel))


PROMPTS = [np.array([3, 1, 4]), np.array([1, 5, 9, 2, 6])]


def tokens_of(written):
    return [[one.tokens.tolist() for one in row] for row in written]


def test_rows_do_not_know_of_each_other(ready):
    together = tokens_of(generate(ready, [*PROMPTS, np.arange(20)], max_new_tokens=8))
    assert [tokens_of(generate(ready, [prompt], max_new_tokens=8))[0] for prompt in PROMPTS] == together[:2]


def test_drawn_texts_depend_on_key_row_and_copy_alone(ready):
    chance, key = Sampling(1.0), jax.random.key(5)
    both = tokens_of(generate(ready, PROMPTS, max_new_tokens=8, sampling=chance, copies=2, key=key))
    alone = tokens_of(generate(ready, PROMPTS[1:], max_new_tokens=8, sampling=chance, key=key, rows=[1]))
    assert alone[0][0] == both[1][0]
    assert len({tuple(text) for row in both for text in row}) == 4
    other = tokens_of(generate(ready, PROMPTS, max_new_tokens=8, sampling=chance, copies=2, key=jax.random.key(6)))
    assert other != both
    longer = tokens_of(generate(ready, PROMPTS, max_new_tokens=9, sampling=chance, copies=2, key=key))
    assert [[text[:8] for text in row] for row in longer] == both


def test_in_parts_is_as_at_once(ready):
    writing = Writing(ready, PROMPTS, max_new_tokens=9)
    lengths = [len(rows[0][0].tokens) for rows in writing.pieces(2)]
    assert lengths == [1, 3, 5, 7, 9]
    assert tokens_of(writing.written()) == tokens_of(generate(ready, PROMPTS, max_new_tokens=9))


def test_top_one_is_greedy_and_a_penalty_is_told_from_none(ready):
    greedy = tokens_of(generate(ready, PROMPTS, max_new_tokens=8))
    first = generate(ready, PROMPTS, max_new_tokens=8, sampling=Sampling(1.7, top_k=1), key=jax.random.key(0))
    assert tokens_of(first) == greedy
    assert tokens_of(generate(ready, PROMPTS, max_new_tokens=8, sampling=Sampling(repetition_penalty=1.0))) == greedy
    (never,), _ = tokens_of(generate(ready, PROMPTS, max_new_tokens=8, sampling=Sampling(repetition_penalty=1e9)))
    assert len({*never, *PROMPTS[0].tolist()}) == 8 + 3  # nothing twice, nor from the prompt


def test_stop_tokens_end_their_row_only(ready):
    (long,), (other,) = tokens_of(generate(ready, PROMPTS, max_new_tokens=8))
    stop = next(token for token in long if token not in other)
    (row,), (rest,) = generate(ready, PROMPTS, max_new_tokens=8, stop_tokens=[stop, 49])
    assert row.tokens.tolist() == long[: long.index(stop) + 1] and row.reason == "stop"
    assert rest.tokens.tolist() == other[: other.index(49) + 1 if 49 in other else None]


def test_prompts_of_one_bucket_and_other_numbers_are_traced_once(ready):
    def run(length, batch, most, **numbers):
        prompts = [np.arange(1, length + 1)] * batch
        generate(
            ready, prompts, max_new_tokens=most, sampling=Sampling(**numbers), key=jax.random.key(1), stop_tokens=[2]
        )

    run(17, 3, 20, temperature=1.0, top_k=7, top_p=0.9, min_p=0.01)
    before = generation._begin._cache_size(), generation._advance._cache_size()
    run(23, 4, 24, temperature=0.3, top_k=5, top_p=0.5, min_p=0.2)
    assert (generation._begin._cache_size(), generation._advance._cache_size()) == before
    run(17, 3, 20, temperature=1.0)
    assert generation._begin._cache_size() == before[0] + 1


def test_learned_positions_end_a_text(tiny, make_model):
    model = make_model(tiny(**PLAIN, positions=LearnedPositions(12)), LanguageModel)
    ready = prepare(model)
    (short,), (full,) = generate(ready, [np.arange(1, 8), np.arange(12)], max_new_tokens=20)
    assert (len(short.tokens), short.reason) == (6, "positions")  # 7 read and 6 written, the last of which nobody reads
    assert (len(full.tokens), full.reason) == (1, "positions")
    hidden = model(
        *(jnp.asarray(part) for part in padded([np.r_[np.arange(1, 8), short.tokens[:-1]]], 1, 12, left=False))
    )
    np.testing.assert_array_equal(jnp.argmax(model.predict_tokens(hidden)[0, 6:], -1), short.tokens)
    with pytest.raises(GenerationError, match="has 13 tokens, and the model has 12 positions; shorten it by 1"):
        generate(ready, [np.arange(13)])


def test_a_prefix_is_read_in_both_directions(tiny, make_model):
    model = make_model(tiny(**PLAIN), LanguageModel)
    prompt = np.arange(3, 9)
    side = padded([prompt], 1, 6, left=False)
    expected = model.predict_tokens(model(*side, prefix=jnp.ones((1, 6), bool)))[0, -1]
    for prefix in (True, False):
        ((found,),) = generate(prepare(model), [prompt], max_new_tokens=1, prefix=prefix)
        same = abs(found.log_probabilities[0] - jax.nn.log_softmax(expected)[found.tokens[0]]) < 1e-5
        assert bool(same) == prefix


@pytest.mark.slow
def test_weights_of_fewer_bits_say_nearly_the_same(tiny, make_model):
    for make, more in (
        (LanguageModel, {"positions": Rotary()}),
        (EncoderDecoder, {"positions": RelativeBuckets(8, 16)}),
    ):
        model = make_model(tiny(**PLAIN, **more), make)
        start = 1 if make is EncoderDecoder else None
        side = padded(PROMPTS, 2, 5, left=start is None)
        begin = None if start is None else jnp.full((2, 1), start, jnp.int32)

        def logits(weights, model=model, side=side, begin=begin):
            made = prepare(model, weights)
            read = jax.jit(lambda params: read_prompts(nnx.merge(made.graph, params), side, begin, 4)[0])
            return read(made.params).astype(jnp.float32)

        whole = logits(None)
        for weights, most in (("float32", 1e-6), ("bfloat16", 0.1), ("int8", 0.1)):
            difference = jnp.abs(logits(weights) - whole).max() / jnp.abs(whole).max()
            assert difference < most and (difference > 0) == (weights != "float32"), (make, weights)
        made = prepare(model, "int8")
        layers = nnx.merge(made.graph, made.params)
        layers = layers.decoder.layers if make is EncoderDecoder else layers.layers
        assert isinstance(layers[0].mlp.up, QuantizedLinear) and layers[0].mlp.up.kernel[...].dtype == jnp.int8
        assert len(generate(made, PROMPTS, max_new_tokens=3, start_token=start)[0][0].tokens) == 3


def test_quantized_weights_are_off_by_half_a_step_at_most():
    weights = jax.random.normal(jax.random.key(0), (20, 3, 4))
    whole, scale = quantize(weights, 1)
    assert (jnp.abs(whole * scale[None] - weights) <= 0.5001 * scale[None]).all() and jnp.abs(whole).max() == 127


# --- Mistakes.


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"prompts": []}, "there is no prompt"),
        ({"prompts": [np.array([], int)]}, "the prompt is empty"),
        ({"prompts": [np.array([1, 50])]}, "the prompt has ids from 1 to 50; they lie in"),
        ({"max_new_tokens": 0}, "max_new_tokens=0 must be at least 1"),
        ({"copies": 0}, "num_return_sequences=0 must be at least 1"),
        ({"sampling": Sampling(1.0)}, "drawing tokens needs a key"),
    ],
)
def test_bad_calls_are_refused(arguments, error, ready):
    with pytest.raises(GenerationError, match=error):
        generate(ready, **{"prompts": PROMPTS} | arguments)


def test_what_writes_no_text_is_refused(tiny, make_model):
    with pytest.raises(GenerationError, match="a MaskedLanguageModel writes no text"):
        prepare(make_model(tiny(), MaskedLanguageModel))


# --- Beam search.

STOP, VOCABULARY, LENGTH = 2, 4, 3


@pytest.fixture(scope="module")
def small(make_model, tiny):
    import dataclasses

    config = dataclasses.replace(tiny(**PLAIN, positions=Rotary()), vocab_size=VOCABULARY)
    return make_model(config, LanguageModel, seed=4)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5, -1.0])
def test_beams_of_full_width_are_an_exhaustive_search(penalty, small):
    prompts = [np.array([0, 1, 3]), np.array([3])]
    found = beam_search(
        prepare(small),
        prompts,
        beams=VOCABULARY**LENGTH,
        max_new_tokens=LENGTH,
        length_penalty=penalty,
        stop_tokens=[STOP],
    )
    every = np.array(list(itertools.product(range(VOCABULARY), repeat=LENGTH)))
    for prompt, hypotheses in zip(prompts, found, strict=True):
        rows = np.concatenate([np.tile(prompt, (len(every), 1)), every], axis=1)
        positions = jnp.broadcast_to(jnp.arange(rows.shape[1], dtype=jnp.int32)[None], rows.shape)
        hidden = small(jnp.asarray(rows, jnp.int32), positions, jnp.ones_like(positions))
        chances = jax.nn.log_softmax(small.predict_tokens(hidden))[:, len(prompt) - 1 : -1]
        chances = np.take_along_axis(np.asarray(chances), every[:, :, None], axis=2)[..., 0]
        scores = {}
        for text, chance in zip(every.tolist(), chances, strict=True):
            length = text.index(STOP) + 1 if STOP in text else LENGTH
            scores[tuple(text[:length])] = float(chance[:length].sum()) / length**penalty
        best = sorted(scores.items(), key=lambda item: -item[1])
        assert len(hypotheses) == len(best)
        np.testing.assert_allclose([one.score for one in hypotheses], [score for _, score in best], atol=1e-4)
        assert tuple(hypotheses[0].tokens.tolist()) == best[0][0]
        assert all((one.reason == "stop") == (one.tokens[-1] == STOP) for one in hypotheses)


def test_one_beam_is_greedy(ready, small):
    for model, prompts, stops in (
        (ready, PROMPTS, [7]),
        (prepare(small), [np.array([0, 1, 3]), np.array([3])], [STOP]),
    ):
        greedy = generate(model, prompts, max_new_tokens=8, stop_tokens=stops)
        found = beam_search(model, prompts, beams=1, max_new_tokens=8, stop_tokens=stops)
        for (expected,), (one,) in zip(greedy, found, strict=True):
            np.testing.assert_array_equal(one.tokens, expected.tokens)
            assert one.score == pytest.approx(expected.log_probabilities.sum() / len(one.tokens), abs=1e-4)


def test_beams_of_an_encoder_decoder_begin_with_greedy_and_get_better(tiny, make_model):
    ready = prepare(make_model(tiny(**PLAIN, positions=RelativeBuckets(8, 16)), EncoderDecoder))
    greedy = generate(ready, PROMPTS, max_new_tokens=6, start_token=1, stop_tokens=[7])
    found = beam_search(ready, PROMPTS, beams=4, max_new_tokens=6, start_token=1, stop_tokens=[7], length_penalty=0.0)
    for (one,), texts in zip(greedy, found, strict=True):
        scores = [text.score for text in texts]
        assert scores == sorted(scores, reverse=True) and scores[0] >= one.log_probabilities.sum() - 1e-5


RETURNED = {"return_dict_in_generate": True, "output_scores": True}


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
@pytest.mark.parametrize("penalty", [0.6, 2.0])
def test_beams_are_those_of_the_published_search(twin, penalty, request):
    """Live, where torch and transformers are installed: tokens and scores, with a token that ends some of the texts."""
    torch = pytest.importorskip("torch", reason="live models need torch and transformers 5")
    transformers = pytest.importorskip("transformers", minversion="5")
    loaded, ready, prompts, new, start = twin
    kind = getattr(transformers, loaded.fields["architectures"][0])
    published = kind.from_pretrained(loaded.folder, attn_implementation="eager").eval()
    stop = int(new[0, 4])
    settings = {
        "eos_token_id": stop,
        "pad_token_id": 0,
        "decoder_start_token_id": start,
        "use_cache": False,
        "num_beams": 4,
    }
    published.generation_config = transformers.GenerationConfig(
        **settings,
        length_penalty=penalty,
        max_new_tokens=9,
        num_return_sequences=4,
        return_dict_in_generate=True,
        output_scores=True,
    )
    theirs = published.generate(torch.from_numpy(prompts), attention_mask=torch.ones(prompts.shape, dtype=torch.int64))
    ours = beam_search(
        ready, list(prompts), beams=4, max_new_tokens=9, length_penalty=penalty, stop_tokens=[stop], start_token=start
    )
    skip = 1 if start is not None else prompts.shape[1]
    for number, (text, score) in enumerate(zip(theirs.sequences.numpy(), theirs.sequences_scores.numpy(), strict=True)):
        one = ours[number // 4][number % 4]
        assert one.score == pytest.approx(score, abs=1e-3)
        np.testing.assert_array_equal(one.tokens, text[skip : skip + len(one.tokens)])
