"""Patching: a grid equals its cells run one by one, its gradient estimates it, and edits do what they say."""

import jax.numpy as jnp
import numpy as np
import pytest

from model.capture import Plan, SiteError
from model.decoder import LanguageModel
from model.encoder import MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.inspection.calls import capture, forward, gradients, measure, sites, text_inputs
from model.inspection.edits import Edit, patched, steered, without, without_heads
from model.inspection.metrics import LogitDifference, LogProbability
from model.inspection.patching import attribution_patch, patch_grid, path_patch
from model.inspection.saliency import head_importance, input_gradients, integrated_gradients
from model.positions import RelativeBuckets
from tests.model.conftest import noisy_model, tiny_config

KINDS = {
    "decoder": (LanguageModel, {"norm_placement": "pre"}),
    "encoder": (MaskedLanguageModel, {"num_token_types": 0}),
    "shared layers": (LanguageModel, {"share_layers": True, "num_layers": 3}),
    "encoder-decoder": (
        EncoderDecoder,
        {"positions": RelativeBuckets(8, 16), "norm_placement": "pre", "num_token_types": 0},
    ),
}
METRIC = LogitDifference(7, 9)


def two_runs(kind):
    rows = np.random.default_rng(0).integers(0, 50, (3, 8))
    sources = [rows[2]] if kind is EncoderDecoder else []
    return text_inputs([rows[0]], sources), text_inputs([rows[1]], sources)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("decoder", "residual"),
        ("encoder-decoder", "attention.mixed"),
        pytest.param("decoder", "attention.output", marks=pytest.mark.slow),
        pytest.param("encoder", "mlp.output", marks=pytest.mark.slow),
        pytest.param("shared layers", "attention.mixed", marks=pytest.mark.slow),
        pytest.param("encoder-decoder", "residual", marks=pytest.mark.slow),
    ],
)
def test_a_grid_is_its_cells_one_by_one(name, part):
    kind, choices = KINDS[name]
    model = noisy_model(tiny_config(**choices), kind)
    clean, corrupted = two_runs(kind)
    side = "decoder." if kind is EncoderDecoder else ""
    _, source = capture(model, clean, Plan((f"{side}layers.*.{part}",)))
    grid = patch_grid(model, corrupted, source, METRIC, part=part, chunk=3)  # the last chunk is not full
    there = sites(model, corrupted)
    for layer, row in enumerate(np.asarray(grid)):
        site = f"{side}layers.{layer}.{part}"
        for place, found in enumerate(row):
            if part == "attention.mixed":
                edit = Edit(site, np.arange(4)[None, None, :, None] == place, np.asarray(source[site]))
            else:
                edit = patched(site, source, there, positions=[place])
            alone = measure(model, corrupted, METRIC, [(site, "set")], [edit.change])[0]
            assert found == pytest.approx(float(alone), abs=1e-5)
    assert grid.axes == ("layer", "head" if part == "attention.mixed" else "position")


@pytest.mark.slow
def test_a_grid_compiles_once(monkeypatch):
    """Layers, positions, texts and metrics' tokens aside: one trace for all cells."""
    import jax

    from model.inspection import patching

    traces, run = [], patching.of_hidden
    monkeypatch.setattr(patching, "of_hidden", lambda *a: traces.append(1) or run(*a))
    model = noisy_model(tiny_config(num_layers=4), LanguageModel)
    clean, corrupted = two_runs(LanguageModel)
    _, source = capture(model, clean, Plan(("layers.*.residual",)))
    jax.clear_caches()
    patch_grid(model, corrupted, source, METRIC, chunk=4)
    patch_grid(model, clean, source, METRIC, chunk=4)
    assert len(traces) == 1


def test_the_gradient_estimates_small_patches():
    """To first order: the estimate's error falls with the square of the difference between the runs."""
    model = noisy_model(tiny_config(norm_placement="pre"), LanguageModel)
    _, corrupted = two_runs(LanguageModel)
    base = float(METRIC(forward(model, corrupted))[0])
    _, here = capture(model, corrupted, Plan(("layers.*.residual",)))
    errors = []
    for size in (1e-1, 1e-2):
        draw = np.random.default_rng(1)
        source = {site: value + size * draw.normal(size=value.shape).astype(np.float32) for site, value in here.items()}
        change = np.asarray(patch_grid(model, corrupted, source, METRIC)) - base
        errors.append(np.abs(change - attribution_patch(model, corrupted, source, METRIC)).max() / np.abs(change).max())
    assert errors[0] < 0.2 and errors[1] < errors[0] / 4


def test_paths_from_a_head_that_is_the_same_carry_nothing():
    """Nothing changes by a path from a head that writes the same in both runs, or to a receiver before the sender; by all
    heads of the first layer and what reads them something does."""
    model = noisy_model(tiny_config(norm_placement="pre"), LanguageModel)
    clean, corrupted = two_runs(LanguageModel)
    base = float(METRIC(forward(model, clean))[0])
    reader = ["layers.1.attention.queries", "layers.1.attention.keys", "layers.1.attention.values"]
    heads = [(0, head) for head in range(4)]
    same = path_patch(model, clean, clean, METRIC, senders=heads, receivers=reader)
    backwards = path_patch(model, clean, corrupted, METRIC, senders=[(1, 0)], receivers=["layers.0.attention.values"])
    through = path_patch(model, clean, corrupted, METRIC, senders=heads, receivers=reader)
    assert same[0] == pytest.approx(base, abs=1e-5) and backwards[0] == pytest.approx(base, abs=1e-5)
    assert abs(through[0] - base) > 1e-3


def test_heads_mean_and_resampled():
    """Resampling from the same run changes nothing; the mean of a run of equal values is that value."""
    model = noisy_model(tiny_config(), LanguageModel)
    clean, _ = two_runs(LanguageModel)
    there = sites(model, clean)
    _, own = capture(model, clean, Plan(("*.mixed", "*.mlp.output")))
    base = forward(model, clean)

    def run(edits):
        places, changes = tuple((edit.site, edit.operation) for edit in edits), [edit.change for edit in edits]
        return capture(model, clean, Plan(("*.mixed",), places), changes)

    again = without_heads([(0, 1), (1, 3)], there, instead="resample", reference=own)
    np.testing.assert_allclose(run(again)[0], base, rtol=1e-4, atol=1e-4)
    _, seen = run(without_heads([(1, 2)], there, instead="mean", reference=own))
    mean = np.asarray(own["layers.1.attention.mixed"])[:, :, 2].mean((0, 1))
    np.testing.assert_allclose(seen["layers.1.attention.mixed"][0, :, 2], np.broadcast_to(mean, (8, 4)), rtol=1e-5)
    np.testing.assert_array_equal(seen["layers.1.attention.mixed"][:, :, 0], own["layers.1.attention.mixed"][:, :, 0])
    _, mlp = capture(model, clean, Plan(("*.mlp.output",), (("layers.0.mlp.output", "set"),)),
                     [without("layers.0.mlp.output", there, positions=[-1]).change])  # fmt: skip
    np.testing.assert_array_equal(mlp["layers.0.mlp.output"][:, -1], 0)
    np.testing.assert_array_equal(mlp["layers.0.mlp.output"][:, :-1], own["layers.0.mlp.output"][:, :-1])


def test_steering_adds_at_its_positions():
    model = noisy_model(tiny_config(norm_placement="pre"), LanguageModel)
    clean, _ = two_runs(LanguageModel)
    vector = np.linspace(-1, 1, 16).astype(np.float32)
    edit = steered("layers.0.residual", vector, sites(model, clean), positions=[2, -1])
    plan = Plan(("layers.0.residual",), ((edit.site, edit.operation),))
    _, before = capture(model, clean, Plan(("layers.0.residual",)))
    _, after = capture(model, clean, plan, [edit.change])
    added = np.asarray(after["layers.0.residual"] - before["layers.0.residual"])[0]
    np.testing.assert_allclose(added[[2, 7]], np.stack([vector, vector]), atol=1e-5)
    assert not added[[0, 1, 3, 4, 5, 6]].any()


def test_integrated_gradients_are_complete():
    """They sum to the metric less the metric at the baseline."""
    model = noisy_model(tiny_config(norm_embeddings=False, norm_placement="pre"), LanguageModel)
    clean, _ = two_runs(LanguageModel)
    baseline = np.random.default_rng(3).normal(0, 0.3, (1, 8, 16)).astype(np.float32)
    shares = integrated_gradients(model, clean, METRIC, baseline=baseline, steps=96)
    start = [Edit("embeddings.output", np.ones((), bool), baseline).change]
    at_start = measure(model, clean, METRIC, [("embeddings.output", "set")], start)
    total = float(METRIC(forward(model, clean))[0] - at_start[0])
    assert shares.shape == (1, 8) and shares.sum() == pytest.approx(total, rel=1e-2)
    assert np.isfinite(input_gradients(model, clean, METRIC)).all()


def test_importance_is_the_derivative_by_a_gate():
    """|d metric / d gate|, measured by scaling a head a little."""
    model = noisy_model(tiny_config(norm_placement="pre"), LanguageModel)
    clean, _ = two_runs(LanguageModel)
    found = head_importance(model, clean, METRIC)
    _, here = capture(model, clean, Plan(("layers.1.attention.mixed",)))
    value, where = here["layers.1.attention.mixed"], jnp.arange(4)[None, None, :, None] == 2

    def scaled(gate: float) -> float:
        edit = Edit("layers.1.attention.mixed", np.asarray(where), np.asarray(value * gate))
        return float(measure(model, clean, METRIC, [(edit.site, "set")], [edit.change])[0])

    assert found[1, 2] == pytest.approx(abs(scaled(1.01) - scaled(0.99)) / 0.02, rel=1e-2)
    norms = np.linalg.norm(head_importance(model, clean, METRIC, per_layer_norm=True), axis=1)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-5)


def test_metrics_of_one_position_are_those_of_all():
    model = noisy_model(tiny_config(norm_placement="pre"), LanguageModel)
    clean, _ = two_runs(LanguageModel)
    for metric in (LogitDifference(7, 9, position=3), LogProbability(4)):
        np.testing.assert_allclose(measure(model, clean, metric), metric(forward(model, clean)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda there: without_heads([(0, 9)], there), r"no head 9 in layer 0; its heads are 0 to 3"),
        (lambda there: without_heads([(7, 0)], there), r"no layer 7: there is no site layers\.7\.attention\.mixed"),
        (
            lambda there: without_heads([(0, 0)], there, cross=True),
            r"there is no site layers\.0\.cross_attention\.mixed",
        ),
        (lambda there: without_heads([(0, 0)], there, instead="mean"), r"needs a reference that kept layers\.0"),
        (lambda there: without("layers.0.mlp.output", there, positions=[8]), r"no position 8; the text has 8 tokens"),
        (lambda there: steered("layers.0.residual", np.ones(3), there), r"cannot be added .* 16 features"),
        (
            lambda there: patched("layers.0.residual", {"layers.0.residual": np.ones((1, 5, 16))}, there),
            r"texts of equal length",
        ),
    ],
)
def test_what_cannot_be_edited_is_told(call, told):
    model = noisy_model(tiny_config(), LanguageModel)
    with pytest.raises(SiteError, match=told):
        call(sites(model, two_runs(LanguageModel)[0]))


def test_a_grid_of_unequal_texts_is_told():
    model = noisy_model(tiny_config(), LanguageModel)
    clean, corrupted = two_runs(LanguageModel)
    _, source = capture(model, text_inputs([np.arange(5)]), Plan(("layers.*.residual",)))
    with pytest.raises(SiteError, match="5 tokens and this one 8"):
        patch_grid(model, corrupted, source, METRIC)
    with pytest.raises(SiteError, match="a grid of 'logits' is unknown"):
        patch_grid(model, corrupted, source, METRIC, part="logits")
    value, _, _ = gradients(model, clean, METRIC, ["layers.0.residual"])
    assert value.shape == (1,)
