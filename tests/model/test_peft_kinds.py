"""What is particular to one kind of tuning: four-bit levels, budgets of ranks, several adapters, what a step keeps in memory."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from model.attention import MultiHead
from model.config import from_json, to_json
from model.decoder import LanguageModel
from model.encoder import Encoder
from model.encoder_decoder import EncoderDecoder
from model.families import bert
from model.mlp import PlainMLP
from model.output import Output
from model.peft import (
    IA3,
    AdaLoRA,
    Adapters,
    BitFit,
    BottleneckAdapter,
    LoRA,
    Peft,
    PeftError,
    PrefixTuning,
    PromptTuning,
    attach,
    detach,
    is_added,
)
from model.peft.ada_lora import budget, importance, kept, no_sensitivity, penalty, sense, triplets_in
from model.peft.nf4 import BLOCK, LEVELS, from_nf4, grow, shrink, to_nf4
from model.published import HubError
from model.publishing import architecture_of, express, write_model
from tests.model.conftest import equal, flat, stirred
from train.optimizers import decay_mask
from train.rank_budget import with_rank_budget


@functools.partial(jax.jit, static_argnums=0)
def run(graph, state, batch):
    return nnx.merge(graph, state)(*batch)


@pytest.fixture(scope="module")
def base(make_model, tiny):
    return make_model(tiny(), Encoder)


def test_the_levels_are_the_published_ones():
    """arXiv:2305.14314, appendix E: eight quantiles below zero, zero, seven above, of a normal cut at the same share."""
    assert len(LEVELS) == 16 and LEVELS[7] == 0 and LEVELS[0] == -1 and LEVELS[15] == 1
    assert (np.diff(LEVELS) > 0).all()
    offset = (1 - 1 / (2 * 15) + 1 - 1 / (2 * 16)) / 2
    quantile = jax.scipy.special.ndtri
    above, below = quantile(jnp.linspace(offset, 0.5, 9)[:-1]), quantile(jnp.linspace(offset, 0.5, 8)[:-1])
    made = np.sort(np.concatenate([above, -below, [0.0]])) / above.max()
    np.testing.assert_allclose(made, LEVELS, atol=1e-5)


@pytest.mark.parametrize("size", [1, 63, 64, 1_000])
def test_four_bits_round_to_the_nearest_level(size):
    weights = jax.random.normal(jax.random.key(size), (size,))
    codes, absmax = to_nf4(weights)
    assert codes.size == 32 * -(-size // BLOCK) and absmax.size == -(-size // BLOCK)
    again = from_nf4(codes, absmax, size)
    most = np.repeat(absmax, BLOCK)[:size]
    nearest = np.abs(np.asarray(weights)[:, None] - most[:, None] * LEVELS[None]).min(1)
    np.testing.assert_allclose(np.abs(again - weights), nearest, atol=1e-6)
    assert np.abs(again - weights).max() <= (np.diff(LEVELS).max() / 2 * most).max() + 1e-6
    assert jnp.array_equal(from_nf4(*to_nf4(again), size), again)


def test_zeros_stay_zeros_and_maxima_shrink_well():
    assert not from_nf4(*to_nf4(jnp.zeros(100)), 100).any()
    absmax = jnp.abs(jax.random.normal(jax.random.key(0), (700,)))
    error = jnp.abs(grow(shrink(absmax)) - absmax)
    assert error.max() <= jnp.abs(absmax - absmax.mean()).max() / 254 + 1e-6


def test_the_budget_falls_as_a_cube_from_its_start_to_its_target():
    choice = AdaLoRA(rank=6, target_rank=2, warmup_steps=10, final_steps=20)
    counts = [int(budget(step, 100, choice, 60)) for step in range(101)]
    assert counts[:11] == [60] * 11 and counts[80:] == [20] * 21
    assert all(one >= other for one, other in itertools.pairwise(counts))
    assert counts[45] == 20 + round(40 * 0.5**3)


def test_importance_is_that_of_the_paper_and_the_best_are_kept():
    """Written out for one map by loops, against the vectorised form."""
    draw = np.random.default_rng(0)
    shapes = {"a": (4, 3), "b": (3, 2, 2), "energy": (3,)}
    params, slopes = ({"map": {"lora": {k: jnp.asarray(draw.normal(size=v)) for k, v in shapes.items()}}} for _ in "ab")
    choice = AdaLoRA()
    seen = sense(no_sensitivity(params), params, slopes, choice)
    seen = sense(seen, params, slopes, choice)
    now = {k: np.abs(np.asarray(params["map"]["lora"][k] * slopes["map"]["lora"][k])) for k in shapes}
    mean, spread = {k: 0 * v for k, v in now.items()}, {k: 0 * v for k, v in now.items()}
    for _ in range(2):
        mean = {k: 0.85 * mean[k] + 0.15 * now[k] for k in now}
        spread = {k: 0.85 * spread[k] + 0.15 * np.abs(now[k] - mean[k]) for k in now}
    s = {k: mean[k] * spread[k] for k in now}
    expected = [s["energy"][r] + s["a"][:, r].mean() + s["b"][r].mean() for r in range(3)]
    scores = importance(seen)
    np.testing.assert_allclose(scores["map.lora"], expected, rtol=1e-5)
    masks = kept(scores, jnp.array(2))
    assert masks["map.lora"].sum() == 2 and not masks["map.lora"][int(np.argmin(expected))]
    assert kept({"a": jnp.zeros(3), "b": jnp.zeros(2)}, jnp.array(4))["a"].sum() == 3  # ties too are broken


def test_orthogonal_triplets_have_no_penalty(base):
    tuned = attach(base, AdaLoRA(rank=3, target_rank=2, sites="*.attention.query,*.mlp.down"), nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(tuned, nnx.Param))
    assert penalty(params) > 1

    def orthogonal(node):
        rows = node["energy"].shape
        q = jnp.linalg.qr(node["a"].reshape(rows[0], -1, 3))[0]
        p = jnp.linalg.qr(node["b"].reshape(rows[0], 3, -1).transpose(0, 2, 1))[0].transpose(0, 2, 1)
        return {"a": q.reshape(node["a"].shape), "b": p.reshape(node["b"].shape), "energy": node["energy"]}

    assert penalty({path: {"lora": orthogonal(node)} for path, node in triplets_in(params).items()}) < 1e-6


def test_a_run_with_a_budget_ends_with_its_target(base, batch):
    """What is left are the triplets of the last ranking, and nothing but triplets is touched."""
    choice = AdaLoRA(rank=3, target_rank=1, warmup_steps=3, final_steps=4, every=2, sites="*.attention.*")
    graph, trained, frozen = nnx.split(
        attach(base, choice, nnx.Rngs(0)), lambda path, _: is_added(".".join(map(str, path))), ...
    )
    params = nnx.to_pure_dict(trained) | {"head": jnp.ones(16)}
    optimizer = with_rank_budget(optax.adam(1e-2), choice, steps=16)

    @jax.jit
    def step(params, state):
        def loss(params):
            hung = nnx.State({name: node for name, node in params.items() if name != "head"})
            hidden = nnx.merge(graph, hung, frozen)(*batch)
            return jnp.square(hidden @ params["head"] - 1).mean() + 0.1 * penalty(params)

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    state, values = optimizer.init(params), []
    for number in range(16):
        params, state, value = step(params, state)
        values.append(float(value))
        alive = sum(int((node["energy"] != 0).sum()) for node in triplets_in(params).values())
        assert alive == 24 if number < 3 else alive <= 24
    assert alive == 8 and values[-1] < values[0]
    assert jnp.abs(params["head"] - 1).min() > 1e-3


def test_budgets_want_whole_stacks(base):
    with pytest.raises(PeftError, match=r"among all layers of layers.mlp.up; select every layer"):
        attach(base, AdaLoRA(sites="layers.0.mlp.up"), nnx.Rngs(0))


def test_several_adapters_share_a_base_and_one_program(base, batch):
    choice, other = LoRA(rank=2), IA3()
    adapters = Adapters(base)
    one, two = (stirred(attach(base, choice, nnx.Rngs(n)), seed=n) for n in (0, 1))
    adapters.add("one", choice, one)
    adapters.add("two", choice, two)
    adapters.add("scaled", other, nnx.Rngs(0))
    assert list(adapters) == ["one", "two", "scaled"] and adapters.choice("scaled") == other
    before = run._cache_size()
    for name, model in (("one", one), ("two", two), ("one", one)):
        used = adapters.use(name)
        assert equal(used, model) and equal(detach(used), base)
        np.testing.assert_array_equal(run(*nnx.split(used), batch), run(*nnx.split(model), batch))
    assert run._cache_size() == before + 1
    assert flat(adapters.use("two"))["layers.mlp.up.kernel"] is flat(base)["layers.mlp.up.kernel"]
    adapters.remove("one")
    with pytest.raises(PeftError, match=r"no adapter 'one'; there are two, scaled"):
        adapters.use("one")
    with pytest.raises(PeftError, match="adapter 'two' already"):
        adapters.add("two", choice, one)
    with pytest.raises(PeftError, match="is no adapter of this choice"):
        adapters.add("wrong", LoRA(sites="*.mlp.up"), one)
    with pytest.raises(PeftError, match="tuned already"):
        Adapters(one)


def test_a_prefix_is_seen_by_every_token_of_a_decoder_with_and_without_a_cache(make_model, tiny, batch):
    config = tiny(num_token_types=0, norm_placement="pre", attention=MultiHead(4, 2, dropout_rate=0.0))
    model = stirred(attach(make_model(config, LanguageModel), PrefixTuning(3), nnx.Rngs(0)), size=1.0)
    tokens, positions = batch[0][:, :6], jnp.broadcast_to(jnp.arange(6)[None], (3, 6))
    segments = jnp.ones_like(tokens)

    @jax.jit
    def both(keys):
        tuned = nnx.clone(model)
        tuned.layers.attention.prefix.keys = nnx.Param(keys)
        cache, parts = tuned.empty_cache(3, 6), []
        for part in (slice(0, 4), slice(4, 6)):
            hidden, cache = tuned.extend(cache, tokens[:, part], positions[:, part], segments[:, part])
            parts.append(hidden)
        return tuned(tokens, positions, segments), jnp.concatenate(parts, 1)

    keys = flat(model)["layers.attention.prefix.keys"]
    whole, parts = both(keys)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    others, _ = both(keys + 1.0)
    assert (jnp.abs(others - whole).max(-1) > 1e-3).all()


def test_a_prompt_of_tokens_is_those_tokens(make_model, tiny):
    """Trained vectors that equal the embeddings of tokens do what these tokens do at the start of the row."""
    for kind in (Encoder, LanguageModel):
        model = make_model(tiny(num_token_types=0), kind)
        tuned = attach(model, PromptTuning(3), nnx.Rngs(0))
        asked = jnp.array([[4, 7, 1]])
        tuned.prompt.embedding = nnx.Param(model.embeddings.look_up(asked)[0])
        tokens = jnp.arange(10, 15)[None]
        whole = jnp.concatenate([asked, tokens], 1)
        places, one = jnp.arange(8)[None], jnp.ones((1, 8), jnp.int32)
        np.testing.assert_allclose(
            tuned(tokens, places[:, :5], one[:, :5]), model(whole, places, one)[:, 3:], atol=1e-5
        )
    with pytest.raises(ValueError, match="in no cache"):
        tuned.extend(tuned.empty_cache(1, 8), tokens, places[:, :5], one[:, :5])
    with pytest.raises(PeftError, match="a EncoderDecoder has no row of tokens"):
        attach(make_model(tiny(num_token_types=0), EncoderDecoder), PromptTuning(), nnx.Rngs(0))


def test_a_tuned_model_is_not_published_by_halves(base, tmp_path):
    config = dataclasses.replace(base.config, output=Output())
    model = nnx.eval_shape(lambda: Encoder(config, pooler=True, rngs=nnx.Rngs(0)))
    tuned = nnx.eval_shape(lambda: attach(Encoder(config, pooler=True, rngs=nnx.Rngs(0)), LoRA(), nnx.Rngs(0)))
    with pytest.raises(HubError, match=r"layers.attention.query.lora.a.* has no published name; merge"):
        write_model(tmp_path, tuned, express(architecture_of(model)))


def test_adapters_stand_where_the_stream_is_written(base):
    with pytest.raises(PeftError, match=r"layers.attention.query does not write the residual stream"):
        attach(base, BottleneckAdapter(sites="*.attention.query"), nnx.Rngs(0))


@pytest.mark.parametrize(
    ("choice", "fields", "said"),
    [
        (AdaLoRA, {"target_rank": 13}, "target_rank=13 must lie in"),
        (AdaLoRA, {"sensitivity_memory": 1.0}, "sensitivity_memory=1.0"),
        (BottleneckAdapter, {"size": 0}, "size=0"),
        (BottleneckAdapter, {"strength": 0.0}, "strength=0.0"),
        (PrefixTuning, {"length": 0}, "length=0"),
        (PromptTuning, {"length": 0}, "length=0"),
    ],
)
def test_impossible_choices_say_why(choice, fields, said):
    with pytest.raises(ValueError, match=said):
        choice(**fields)


@pytest.mark.parametrize("choice", [AdaLoRA(), BottleneckAdapter(), BitFit(), IA3(), PrefixTuning(), PromptTuning()])
def test_choices_are_json_by_name(choice):
    assert from_json(type(choice), to_json(choice)) == choice
    assert type(choice) in Peft.__args__


def test_what_multiplies_is_not_decayed(base):
    def decayed(choice):
        tuned = nnx.eval_shape(lambda: attach(base, choice, nnx.Rngs(0)))
        params = nnx.to_pure_dict(nnx.state(tuned, nnx.Param))
        marks = jax.tree_util.tree_leaves_with_path(decay_mask(params))
        return {str(path[-1].key) for path, mark in marks if mark and is_added(".".join(str(k.key) for k in path))}

    assert decayed(LoRA(decomposed=True)) == {"a", "b"} and decayed(AdaLoRA()) == {"a", "b"}
    assert not decayed(IA3()) and not decayed(BitFit())


def test_a_lora_keeps_a_twentieth_of_the_memory_of_full_training():
    """Gradients and the state of Adam, as the compiler counts them, at the proportions of BERT-base; and no gradient of a
    frozen kernel is made on the way, which would lie among the temporaries."""
    shape = {"hidden_size": 192, "num_layers": 12, "attention": MultiHead(3), "mlp": PlainMLP(768)}
    config = bert.config("tiny", vocab_size=2_000, max_length=64, **shape)
    optimizer = optax.adam(1e-3)
    tokens = jnp.zeros((1, 8), jnp.int32)

    def memory(choice, chosen) -> tuple[int, int]:
        def make():
            model = Encoder(config, rngs=nnx.Rngs(0))
            return model if choice is None else attach(model, choice, nnx.Rngs(0))

        graph, trained, frozen = nnx.split(nnx.eval_shape(make), lambda path, _: chosen(".".join(map(str, path))), ...)

        def loss(trained, frozen):
            return jnp.square(nnx.merge(graph, trained, frozen)(tokens, tokens, tokens + 1)).mean()

        gradient = jax.jit(jax.value_and_grad(loss)).lower(trained, frozen).compile().memory_analysis()
        state = jax.jit(optimizer.init).lower(trained).compile().memory_analysis()
        return gradient.output_size_in_bytes + state.output_size_in_bytes, gradient.temp_size_in_bytes

    full, full_temporary = memory(None, lambda path: True)
    thin, thin_temporary = memory(LoRA(), is_added)
    assert thin < 0.05 * full
    assert thin_temporary < full_temporary + 0.1 * full / 3
