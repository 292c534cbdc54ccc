"""What holds for every tuning: it begins without a trace, trains nothing of the base, folds in or comes off."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention import MultiHead
from model.capture import Plan, SiteError, captured
from model.config import from_json, to_json
from model.decoder import LanguageModel
from model.encoder import Encoder
from model.encoder_decoder import EncoderDecoder
from model.mlp import GatedMLP
from model.norms import RMSNorm
from model.peft import (
    IA3,
    AdaLoRA,
    BitFit,
    BottleneckAdapter,
    LoRA,
    PeftError,
    PrefixTuning,
    PromptTuning,
    added_paths,
    attach,
    detach,
    is_added,
    merge,
    rate_of,
)
from model.peft.attaching import copied
from model.peft.frozen import quantize_base
from model.publishing import architecture_of, express
from model.quantized import cast
from model.rotary import Rotary
from model.stack import Stack
from model.stack import apart as apart_of
from tests.model.conftest import equal, flat, stirred

EVERYWHERE = "*.attention.*,*.mlp.*"
MERGED = {
    "LoRA": LoRA(rank=3, sites=EVERYWHERE),
    "LoRA in some layers and a head": LoRA(rank=3, sites="layers.0.attention.*,layers.[1-9].mlp.down,pair_head.pooler"),
    "rsLoRA, gaussian": LoRA(rank=4, rank_stabilised=True, initial="gaussian"),
    "DoRA": LoRA(rank=3, decomposed=True, sites=EVERYWHERE),
    "DoRA in some layers": LoRA(rank=3, decomposed=True, sites="layers.1.attention.query"),
    "AdaLoRA": AdaLoRA(rank=3, target_rank=2),
    "IA3": IA3(),
    "IA3 in some layers": IA3("layers.1.attention.key,layers.1.mlp.down"),
    "BitFit": BitFit(),
    "BitFit in some layers": BitFit("layers.0.*norm,layers.0.mlp.up"),
}
SILENT = MERGED | {
    "adapters": BottleneckAdapter(size=4),
    "adapters in some layers": BottleneckAdapter(size=4, sites="layers.1.mlp.down"),
    "parallel adapters": BottleneckAdapter(size=4, form="parallel", activation="relu", strength=4.0),
}
TUNINGS = SILENT | {"prefix": PrefixTuning(3), "prefix in some layers": PrefixTuning(3, sites="layers.1.attention")}
TUNINGS |= {"prompt": PromptTuning(3), "gaussian prompt": PromptTuning(2, initial="gaussian")}
KEYS = jnp.arange(3, dtype=jnp.uint32)


def names(*quick: str) -> list:
    """Every tuning by name; those that are not named here are left to the slow tests."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in TUNINGS]


@functools.partial(jax.jit, static_argnums=0)
def run(graph, state, batch, keys=None):
    """Everything that a masked language model says."""
    model = nnx.merge(graph, state)
    hidden = model(*batch, dropout_keys=keys)
    return jnp.concatenate([hidden, model.predict_tokens(hidden), model.predict_next_sentence(hidden)], -1)


def outputs(model, batch, keys=None):
    """The same of a model, compiled once a structure."""
    return run(*nnx.split(model), batch, keys)


@pytest.fixture(scope="module")
def base(make_model, tiny):
    return make_model(tiny())


@pytest.mark.parametrize(
    "name",
    names("LoRA in some layers and a head", "DoRA in some layers", "IA3", "BitFit", "adapters", "prefix", "prompt"),
)
def test_the_laws_of_tuning(base, batch, name):
    """Attached, a tuning changes nothing (prefixes and prompts aside); trained, it moves nothing of the base; merged, it does
    the same; detached, the base is there to the bit; and the model that it was hung on is left as it was."""
    before, said = flat(base), outputs(base, batch)
    tuned = attach(base, TUNINGS[name], nnx.Rngs(0))
    assert added_paths(tuned) and flat(tuned).keys() > before.keys() and flat(base).keys() == before.keys()
    assert all(np.array_equal(flat(tuned)[path], before[path]) for path in before)
    changed = jnp.abs(outputs(tuned, batch) - said).max()
    assert changed < 2e-6 if name in SILENT else changed > 1e-4
    moved = stirred(tuned)
    after = outputs(moved, batch)
    assert jnp.abs(after - said).max() > 1e-3
    assert equal(base, detach(moved)) and not added_paths(base)
    if name in MERGED:
        merged = merge(moved)
        assert nnx.split(merged)[0] == nnx.split(base)[0] and not added_paths(merged)
        np.testing.assert_allclose(outputs(merged, batch), after, atol=3e-5)
        assert equal(base, detach(tuned)) and added_paths(moved)
    else:
        with pytest.raises(PeftError, match=r"cannot be folded into weights; keep it attached: "):
            merge(moved)


@pytest.mark.parametrize("name", names("LoRA", "parallel adapters", "prefix in some layers", "gaussian prompt"))
def test_only_what_was_added_is_trained(base, batch, name):
    """Every added parameter has a gradient, and a step over them alone leaves the base as it was."""
    tuned = stirred(attach(base, TUNINGS[name], nnx.Rngs(0)), size=0.02)
    graph, trained, frozen = nnx.split(tuned, lambda path, _: is_added(".".join(map(str, path))), ...)

    @jax.jit
    def step(trained, frozen):
        def loss(trained):
            return jnp.square(run.__wrapped__(graph, nnx.merge_state(trained, frozen), batch)).mean()

        gradients = jax.grad(loss)(trained)
        return gradients, jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, trained, gradients)

    gradients, after = step(trained, frozen)
    assert len(jax.tree.leaves(gradients)) == len(added_paths(tuned))
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    assert equal(detach(nnx.merge(graph, after, frozen)), base)


@pytest.mark.slow
@pytest.mark.parametrize("name", TUNINGS)
def test_a_loop_and_layers_written_out_do_the_same(base, batch, name):
    """Also with dropout, and with layers that stand apart, as where a model is looked into."""
    moved = stirred(attach(base, TUNINGS[name], nnx.Rngs(0)))
    scanned = outputs(moved, batch, KEYS)
    unrolled = nnx.clone(moved)
    unrolled.config = dataclasses.replace(moved.config, stack=Stack(loop="unroll"))
    np.testing.assert_allclose(outputs(unrolled, batch, KEYS), scanned, atol=1e-5)
    apart = nnx.clone(moved)
    apart.layers = apart_of(apart.layers, apart.num_layers)
    np.testing.assert_allclose(outputs(apart, batch, KEYS), scanned, atol=1e-5)


@pytest.mark.parametrize("name", ["LoRA in some layers and a head", "prefix in some layers"])
def test_capturing_sees_the_same_model(base, batch, name):
    moved = stirred(attach(base, TUNINGS[name], nnx.Rngs(0)))
    seen, _ = captured(moved, lambda model: model(*batch), Plan(("*.residual",)))
    np.testing.assert_allclose(seen, moved(*batch), atol=1e-5)


def test_layers_that_are_not_selected_stay_as_they_were(base, batch):
    """A LoRA in layer 1 leaves what layer 0 gives, and has no gradient there."""
    tuned = stirred(attach(base, TUNINGS["DoRA in some layers"], nnx.Rngs(0)))
    plan = Plan(("layers.*.residual",))
    ours, theirs = (captured(model, lambda model: model(*batch), plan)[1] for model in (tuned, base))
    np.testing.assert_array_equal(ours["layers.0.residual"], theirs["layers.0.residual"])
    assert jnp.abs(ours["layers.1.residual"] - theirs["layers.1.residual"]).max() > 1e-3
    graph, trained, frozen = nnx.split(tuned, lambda path, _: is_added(".".join(map(str, path))), ...)
    gradients = jax.grad(lambda trained: jnp.square(nnx.merge(graph, trained, frozen)(*batch)).sum())(trained)
    for leaf in jax.tree.leaves(gradients):
        assert not leaf[0].any() and leaf[1].any()


def test_sites_keep_their_names_and_one_more_arises(base, batch):
    tuned = stirred(attach(base, LoRA(), nnx.Rngs(0)))
    _, ours = captured(tuned, lambda model: model(*batch))
    _, plain = captured(base, lambda model: model(*batch))
    assert set(ours) - set(plain) == {
        f"layers.{n}.attention.{word}.lora" for n in (0, 1) for word in ("query", "value")
    }
    # What the site holds is what the merged map adds.
    _, merged = captured(merge(tuned), lambda model: model(*batch))
    added = ours["layers.0.attention.query.lora"]
    np.testing.assert_allclose(
        merged["layers.0.attention.queries"] - plain["layers.0.attention.queries"], added, atol=1e-5
    )


def test_dropout_is_on_what_the_thin_matrices_read_and_a_function_of_the_key(base, batch):
    fresh = attach(base, LoRA(dropout=0.3), nnx.Rngs(0))
    np.testing.assert_allclose(outputs(fresh, batch, KEYS), outputs(base, batch, KEYS), atol=1e-6)
    tuned = stirred(fresh)
    once = outputs(tuned, batch, KEYS)
    np.testing.assert_array_equal(once, outputs(tuned, batch, KEYS))
    assert jnp.abs(once - outputs(tuned, batch)).max() > 1e-3
    rows = tuple(part[1:2] for part in batch)
    np.testing.assert_allclose(outputs(tuned, rows, KEYS[1:2])[0], once[1], atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda tiny: (Encoder, tiny(), {"pooler": True}), marks=pytest.mark.slow),
        pytest.param(lambda tiny: (Encoder, tiny(share_layers=True), {}), marks=pytest.mark.slow),
        lambda tiny: (
            LanguageModel,
            tiny(
                attention=MultiHead(4, 2, bias=False, dropout_rate=0.0),
                mlp=GatedMLP(24),
                positions=Rotary(),
                norm=RMSNorm(),
                norm_placement="pre",
                num_token_types=0,
            ),
            {},
        ),
    ],
    ids=["encoder", "shared layers", "decoder"],
)
@pytest.mark.parametrize(
    "choice",
    [
        pytest.param(LoRA(sites=EVERYWHERE), id="lora", marks=pytest.mark.slow),
        pytest.param(LoRA(sites=EVERYWHERE, decomposed=True), id="dora"),
    ],
)
def test_every_stack_can_be_tuned(make, choice, make_model, tiny, batch):
    kind, config, options = make(tiny)
    model = make_model(config, kind, **options)
    tokens, positions, segments, _ = batch
    tuned = attach(model, choice, nnx.Rngs(0))
    moved = stirred(tuned)
    hidden = jax.jit(lambda graph, state: nnx.merge(graph, state)(tokens, positions, segments), static_argnums=0)
    said, silent, after, merged = (hidden(*nnx.split(each)) for each in (model, tuned, moved, merge(moved)))
    np.testing.assert_allclose(silent, said, atol=2e-6)
    assert jnp.abs(after - said).max() > 1e-3
    np.testing.assert_allclose(merged, after, atol=2e-5)


def test_both_sides_of_an_encoder_decoder(make_model, tiny, batch):
    model = make_model(tiny(num_token_types=0, num_decoder_layers=1), EncoderDecoder)
    tokens, positions, segments, _ = batch
    source = {"source_tokens": tokens, "source_positions": positions, "source_segments": segments}
    choice = LoRA(sites="encoder.layers.*.attention.query,decoder.layers.0.cross_attention.*")
    moved = stirred(attach(model, choice, nnx.Rngs(0)))
    hidden = jax.jit(
        lambda graph, state: nnx.merge(graph, state)(tokens, positions, segments, **source), static_argnums=0
    )
    said, after, merged = (hidden(*nnx.split(each)) for each in (model, moved, merge(moved)))
    assert jnp.abs(after - said).max() > 1e-3
    np.testing.assert_allclose(merged, after, atol=2e-5)


def test_attached_inside_a_trace_is_attached_outside(base, batch):
    """Shapes can be asked for without weights, and weights made where they will lie."""
    graph, state = nnx.split(base)
    choice = LoRA(sites="*.attention.query,*.mlp.up", decomposed=True)

    @jax.jit
    def run(state):
        return nnx.state(attach(nnx.merge(graph, state), choice, nnx.Rngs(3)))

    traced, plain = jax.tree.leaves(run(state)), jax.tree.leaves(nnx.state(attach(base, choice, nnx.Rngs(3))))
    for one, other in zip(traced, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    shapes = nnx.eval_shape(lambda: attach(nnx.merge(graph, state), choice, nnx.Rngs(3)))
    assert [leaf.shape for leaf in jax.tree.leaves(nnx.state(shapes))] == [leaf.shape for leaf in plain]


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ("*.attention.querry", "nearest are layers.0.attention.query"),
        ("*.attention.query,layers.[5-9].mlp.up", r"no site 'layers.\[5-9\].mlp.up'"),
        ("", "sites is empty"),
        ("embeddings.tokens", "no site 'embeddings.tokens'"),
    ],
)
def test_sites_that_meet_nothing_say_what_is_near(base, sites, said):
    with pytest.raises((SiteError, PeftError), match=said) as caught:
        attach(base, LoRA(sites=sites), nnx.Rngs(0))
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_some_layers_of_a_shared_stack_are_refused(make_model, tiny):
    with pytest.raises(PeftError, match="shared by all 2 layers"):
        attach(make_model(tiny(share_layers=True), Encoder), LoRA(sites="layers.0.mlp.up"), nnx.Rngs(0))


def test_what_is_tuned_is_not_tuned_again(base):
    with pytest.raises(PeftError, match="tuned already"):
        attach(attach(base, LoRA(), nnx.Rngs(0)), LoRA(), nnx.Rngs(0))


@pytest.mark.parametrize("fields", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"rate_ratio": 0.0}])
def test_impossible_choices_are_refused(fields):
    (name,) = fields
    with pytest.raises(ValueError, match=f"{name}="):
        LoRA(**fields)


@pytest.mark.parametrize("name", TUNINGS)
def test_a_choice_is_json(name):
    choice = TUNINGS[name]
    assert from_json(type(choice), to_json(choice)) == choice


def test_rates_of_lora_plus_are_those_of_b():
    choice = LoRA(rate_ratio=16.0)
    assert rate_of("layers.mlp.up.lora.b", choice) == 16.0
    assert rate_of("layers.mlp.up.lora.a", choice) == rate_of("classifier.kernel", choice) == 1.0


@pytest.mark.parametrize("weights", [pytest.param("int8", marks=pytest.mark.slow), "nf4"])
def test_a_quantised_base_is_tuned_as_it_is(base, batch, weights):
    """Attached changes nothing of the quantised model, merged does the same, detached is the quantised base."""
    choice = LoRA(rank=3, base=weights)
    tuned = attach(base, choice, nnx.Rngs(0))
    rounded = detach(tuned)
    assert flat(rounded)["layers.mlp.up.kernel"].dtype.itemsize == 1
    np.testing.assert_array_equal(outputs(tuned, batch), outputs(rounded, batch))
    moved = stirred(tuned)
    np.testing.assert_allclose(outputs(merge(moved), batch), outputs(moved, batch), atol=3e-5)
    assert equal(detach(moved), rounded)
    error = jnp.abs(outputs(rounded, batch) - outputs(base, batch))
    assert 0 < error.mean() < (0.05 if weights == "int8" else 0.5)


QUANTISED = {
    "LoRA in one place": LoRA(rank=3, sites="layers.1.attention.query", base="int8"),
    "DoRA": LoRA(rank=3, decomposed=True, base="nf4"),
    "AdaLoRA": AdaLoRA(rank=3, target_rank=2, base="int8"),
    "IA3": IA3(),
    "BitFit": BitFit(),
}


@pytest.mark.parametrize(
    "name", [n if n == "LoRA in one place" else pytest.param(n, marks=pytest.mark.slow) for n in QUANTISED]
)
def test_merged_over_a_quantised_base_all_weights_are_float32(base, batch, name):
    """Those too on which nothing hangs: a plain model, with the outputs that it had attached, which can be published."""
    rounded = copied(base)
    quantize_base(rounded, getattr(QUANTISED[name], "base", "nf4"))
    moved = stirred(attach(rounded, QUANTISED[name], nnx.Rngs(0)))
    merged = merge(moved)
    assert nnx.split(merged)[0] == nnx.split(base)[0]
    assert {leaf.dtype for leaf in flat(merged).values()} == {jnp.dtype("float32")}
    np.testing.assert_allclose(outputs(merged, batch), outputs(moved, batch), atol=3e-5)
    assert express(architecture_of(nnx.eval_shape(lambda: merged))).fields


def test_layers_that_stand_apart_are_tuned_one_by_one(base, batch):
    """As a model is that writes text; its weights may be rounded with what hangs on them left in full."""
    separate = nnx.clone(base)
    separate.layers = apart_of(separate.layers, separate.num_layers)
    tuned = stirred(attach(separate, LoRA(sites="layers.1.attention.query"), nnx.Rngs(0)))
    assert added_paths(tuned) == {f"layers.1.attention.query.lora.{word}" for word in "ab"}
    after = outputs(tuned, batch)
    assert jnp.abs(after - outputs(base, batch)).max() > 1e-3
    np.testing.assert_allclose(outputs(merge(tuned), batch), after, atol=2e-5)
    cast(tuned, "int8")
    assert added_paths(tuned) and flat(tuned)["layers.1.attention.query.kernel"].dtype == jnp.int8
    assert jnp.abs(outputs(tuned, batch) - after).mean() < 0.05
