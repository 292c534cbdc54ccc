"""A batch is its texts alone: whatever is asked of several texts of unequal length gives what each gives by itself."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from model.capture import Plan, SiteError
from model.decoder import LanguageModel
from model.encoder import Encoder
from model.inspection.attention_scores import next_token_score, previous_token_score
from model.inspection.calls import Inputs, capture, gradients, measure, sites, text_inputs
from model.inspection.edits import patched, steered, without, without_heads
from model.inspection.flow import attention_flow, attention_rollout
from model.inspection.head_table import HeadScores
from model.inspection.kept import mean_of_places
from model.inspection.logit_attribution import attribution_sites
from model.inspection.metrics import LogitDifference, LogProbability
from model.inspection.patching import attribution_patch, patch_grid, path_patch
from model.inspection.per_text import PerText
from model.inspection.similarity import cka_matrix
from model.task_models import EncoderForTask
from tests.model.conftest import noisy_model, tiny_config
from train.pretrained import open_any
from train.reading import Around, ReadingError

TWINS = Path(__file__).parents[2] / "twins"
TEXTS = [np.array([5, 6, 7, 8, 5]), np.array([5, 6, 9]), np.array([8, 8, 4, 7])]
TARGETS = [np.array([7, 8]), np.array([9, 9, 5, 6]), np.array([5])]
CLOSE = {"rtol": 2e-4, "atol": 2e-5}


def last(scores):
    return scores[:, -1, 5] - scores[:, -1, 6]


@pytest.fixture(
    scope="module", params=["gpt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bert", "t5"))]
)
def pair(request):
    """A model, and what it makes of the texts together and of each alone."""
    opened = open_any(TWINS / request.param)
    vars(opened)["_around"] = Around(start=0)
    targets = TARGETS if request.param == "t5" else None
    both = opened.inspect(TEXTS, keep=["*"], target=targets)
    alone = [opened.inspect(text, keep=["*"], target=targets and targets[number]) for number, text in enumerate(TEXTS)]
    return opened, both, alone, targets


def kinds(name: str) -> list:
    return ["encoder", "decoder", "cross"] if name.startswith("t5") else [None]


def test_a_text_of_a_batch_is_that_text(pair):
    _, both, alone, _ = pair
    for number, one in enumerate(alone):
        cut = both.of(number)
        assert cut.words == one.words and cut.texts == one.texts and set(cut) == set(one)
        np.testing.assert_allclose(cut.output, one.output, **CLOSE)
        for site in one:
            assert cut[site].axes == one[site].axes
            if not site.endswith("attention.scores"):
                np.testing.assert_allclose(cut[site], one[site], **CLOSE)
    np.testing.assert_array_equal(both.of(-1).output, both.of(2).output)
    assert both.real.sum(1).tolist() == [len(one.words[0]) for one in alone]
    with pytest.raises(ValueError, match="there is no text 3; there are 3, 0 to 2"):
        both.of(3)


def test_heads_are_scored_in_every_text(pair):
    opened, both, alone, _ = pair
    for kind in kinds(opened.name):
        table, tables = both.head_scores(kind), [one.head_scores(kind) for one in alone]
        assert "mean of 3 texts" in repr(table) and "spread" in repr(table) and "mean of 3 texts" in table._repr_html_()
        for name in tables[0].names:
            values = np.stack([np.asarray(one[name]) for one in tables])
            for number in range(3):
                np.testing.assert_allclose(table.of(number)[name], values[number], **CLOSE)
            there = ~np.isnan(values).all(0)
            np.testing.assert_allclose(table[name][there], np.nanmean(values[:, there], 0), **CLOSE)
            np.testing.assert_allclose(table.spread(name)[there], np.nanstd(values[:, there], 0), **CLOSE)
        with pytest.raises(ValueError, match="one text, which have no spread"):
            tables[0].spread("entropy")


def test_maps_rollout_and_lens_are_of_every_text(pair):
    opened, both, alone, _ = pair
    for kind in kinds(opened.name):
        with pytest.raises(SiteError, match=r"these are 3; take \.of\(i\)\.maps\(\)"):
            both.maps(kind)
        view = both.attention(kind)
        for shown, one in zip(view.maps, alone, strict=True):
            np.testing.assert_allclose(shown.weights, one.maps(kind).weights, **CLOSE)
        if kind == "cross":
            with pytest.raises(ValueError, match="rollout follows self attention"):
                both.rollout(kind)
            continue
        for found, one in zip(both.rollout(kind), alone, strict=True):
            np.testing.assert_allclose(found, one.rollout(kind), **CLOSE)
    if len(kinds(opened.name)) > 1:
        for ask in (both.head_scores, both.rollout, both.attention, alone[0].maps):
            with pytest.raises(SiteError, match="several kinds, encoder, decoder, cross; say which"):
                ask()
    lenses = both.logit_lens([0, -1])
    for lens, one in zip(lenses, alone, strict=True):
        np.testing.assert_allclose(lens.lens.logits, one.logit_lens([0, -1]).lens.logits, **CLOSE)
        assert lens.words == (one.words[0][0], one.words[0][-1])
    assert both.texts[1] in repr(lenses) and both.texts[1] in lenses._repr_html_()
    with pytest.raises(ValueError, match="no place 9 in text 0"):
        both.logit_lens([9])


@pytest.mark.slow
def test_metrics_gradients_and_grids_are_of_every_text(pair):
    opened, both, alone, targets = pair
    each = [{"target": target} for target in targets or [None] * 3]
    for metric in (last, LogitDifference(5, 6), LogProbability(7, position=0)):
        values = opened.measure(TEXTS, metric, target=targets)
        assert values.shape == (3,)
        for value, text, more, one in zip(values, TEXTS, each, alone, strict=True):
            assert value == pytest.approx(opened.measure(text, metric, **more), abs=1e-4)
            assert value == pytest.approx(float(metric(jnp.asarray(one.output)[None])[0]), abs=1e-4)
    site = next(site for site in both if site.endswith("layers.0.residual"))
    here, slopes = opened.gradients(TEXTS, last, [site], target=targets)
    one_here, one_slopes = opened.gradients(TEXTS[1], last, [site], **each[1])
    np.testing.assert_allclose(here.of(1)[site], one_here[site], **CLOSE)
    np.testing.assert_allclose(slopes.of(1)[site], one_slopes[site], **CLOSE)
    np.testing.assert_allclose(slopes.of(1).output, one_slopes.output, **CLOSE)
    corrupted = [(text + 3) % 10 for text in TEXTS[:2]]
    grids = opened.patch_grid(TEXTS[:2], corrupted, metric=last, target=targets and targets[:2], site="attention.mixed")
    alone_grid = opened.patch_grid(TEXTS[1], corrupted[1], metric=last, site="attention.mixed", **each[1])
    np.testing.assert_allclose(grids.of(1).values, alone_grid.values, **CLOSE)
    mean = grids.mean(lambda grid: grid.values)
    np.testing.assert_allclose(mean, (np.asarray(grids[0].values) + grids[1].values) / 2, **CLOSE)
    with pytest.raises(ReadingError, match="2 clean texts, 1 corrupted ones"):
        opened.patch_grid(TEXTS[:2], corrupted[0], metric=last)


@pytest.fixture(scope="module")
def gpt2():
    return open_any(TWINS / "gpt2")


@pytest.mark.parametrize(
    "edits",
    [
        lambda seen: {
            "ablate_heads": [(1, 1)],
            "positions": [-1],
            "instead": "mean",
            "reference": seen,
            "steer": {"layers.0.residual": np.linspace(-1, 1, 32)},
        },
        pytest.param(lambda seen: {"ablate_mlps": [0], "positions": [-1]}, marks=pytest.mark.slow),
        pytest.param(
            lambda seen: {"steer": {"layers.0.residual": np.linspace(-1, 1, 32)}, "positions": [-2]},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda seen: {"ablate_sites": ["layers.0.attention.weights"], "positions": [-1]}, marks=pytest.mark.slow
        ),
    ],
)
def test_edits_reach_the_same_places_in_a_batch(gpt2, edits):
    """Counted from the end of each text; a mean is that of real tokens."""
    reference = gpt2.inspect(TEXTS, keep=["*.mixed"])
    before = gpt2.measure(TEXTS, last)
    with gpt2.edits(**edits(reference)):
        together = gpt2.measure(TEXTS, last)
        assert np.abs(together - before).min() > 1e-5
        np.testing.assert_allclose(together, [gpt2.measure(text, last) for text in TEXTS], **CLOSE)
        slopes = gpt2.gradients(TEXTS, last, ["layers.1.residual"])[1]
        np.testing.assert_allclose(slopes.output[:, 0], together, **CLOSE)


def test_lists_are_measured_text_by_text(gpt2):
    values = gpt2.measure(TEXTS[:2], last)
    np.testing.assert_allclose(values, [gpt2.measure(text, last) for text in TEXTS[:2]], **CLOSE)
    np.testing.assert_allclose(gpt2.measure(TEXTS[:2], LogitDifference(5, 6)), values, **CLOSE)
    grids = gpt2.patch_grid(TEXTS[1:2], [TEXTS[1] + 1], metric=last, site="attention.mixed")
    assert isinstance(grids, PerText) and grids[0].corrupted == pytest.approx(
        gpt2.measure(TEXTS[1] + 1, last), abs=1e-5
    )
    with pytest.raises(ReadingError, match="2 clean texts, 1 corrupted ones"):
        gpt2.patch_grid(TEXTS[:2], TEXTS[0], metric=last)


@pytest.mark.slow
def test_values_of_another_run_are_put_text_by_text(gpt2):
    others = [text + 1 for text in TEXTS]
    source = gpt2.inspect(others, keep=["layers.0.residual"])
    with gpt2.edits(patch={"layers.0.residual": source}):
        np.testing.assert_allclose(
            gpt2.measure(TEXTS, last), gpt2.measure(others, last), **CLOSE
        )  # behind layer 0 all is theirs
        with pytest.raises(SiteError, match="of 3 texts in the other run and of 1 here"):
            gpt2.measure(np.array([1, 2, 3, 4, 5]), last)
        with pytest.raises(SiteError, match="text 1 has 3 tokens in the other run and 4 here"):
            gpt2.measure([TEXTS[0], TEXTS[2], TEXTS[2]], last)
        with pytest.raises(SiteError, match="outside of the edits"):
            gpt2.patch_grid(TEXTS[0], others[0], metric=last)
    with (
        gpt2.edits(ablate_mlps=[0], positions=[3]),
        pytest.raises(SiteError, match="no position 3; the text has 3 tokens"),
    ):
        gpt2.measure(TEXTS, last)
    with pytest.raises(SiteError, match="a reference is for instead='mean'"), gpt2.edits(reference=source):
        pass


def test_what_is_no_text_is_told(gpt2):
    for text, told in (
        (np.ones((2, 3), int), r"one axis, these are \(2, 3\)"),
        ([5, 6, 7], "'5' is no text"),
        (("a", "b", "c"), "a tuple is a pair of texts"),
        (np.array([0.5]), "whole numbers"),
        ([np.array([2**40])], "do not lie in a vocabulary"),
    ):
        with pytest.raises(ReadingError, match=told):
            gpt2.inspect(text)
    rows = (row for row in TEXTS)
    assert gpt2.inspect(rows).texts == ("5 6 7 8 5", "5 6 9", "8 8 4 7")
    assert gpt2.sites(TEXTS)["layers.0.residual"].shape == (3, 5, 32)
    np.testing.assert_allclose(gpt2.inspect(jnp.asarray(TEXTS[0])).output, gpt2.inspect(TEXTS[0]).output)
    with pytest.raises(ReadingError, match="reads images"):
        open_any(TWINS / "vit").inspect(np.array([1]))


@pytest.mark.slow
def test_attributions_are_of_every_text(gpt2):
    keep = attribution_sites(gpt2.model)
    both = gpt2.inspect(TEXTS, keep=keep).logit_attribution(7, against=3)
    for found, text in zip(both, TEXTS, strict=True):
        np.testing.assert_allclose(
            found.values, gpt2.inspect(text, keep=keep).logit_attribution(7, against=3).values, **CLOSE
        )


def test_arrays_of_a_batch(gpt2):
    """The functions over arrays: leading axes are texts, padding says nothing."""
    raw = gpt2.inspect(TEXTS, keep=["*.weights", "*.residual"]).raw
    weights = np.stack([raw[f"layers.{layer}.attention.weights"] for layer in (0, 1)], 1)
    rolled = attention_rollout(weights)
    for number, text in enumerate(TEXTS):
        real = slice(0, len(text))
        own = weights[number, ..., real, real]
        np.testing.assert_allclose(rolled[number][:, real, real], attention_rollout(own), **CLOSE)
        for score in (next_token_score, previous_token_score):
            np.testing.assert_allclose(score(weights)[number], score(own), **CLOSE)
    with pytest.raises(ValueError, match=r"flow is of one text.* pass one, weights\[i\]"):
        attention_flow(weights)
    with pytest.raises(ValueError, match="no self attention"):
        attention_rollout(np.ones((1, 1, 2, 3)))
    tokens = np.concatenate([raw["layers.1.residual"][number, : len(text)] for number, text in enumerate(TEXTS)])
    np.testing.assert_allclose(mean_of_places(raw, "layers.1.residual")[0, 0], tokens.mean(0), **CLOSE)
    seen = gpt2.inspect(TEXTS, keep=["*.residual"])
    np.testing.assert_allclose(
        cka_matrix(seen), cka_matrix({name: np.asarray(seen[name])[np.asarray(seen.real)] for name in seen}), **CLOSE
    )


@pytest.mark.slow
def test_a_packed_row_is_its_texts():
    """Two texts in one row, beside one that is shorter: what is measured at a place is what its text alone gives."""
    model = noisy_model(tiny_config(norm_placement="pre"), LanguageModel)
    one, two, three = np.arange(3, 8), np.arange(20, 26), np.arange(30, 34)
    alone = text_inputs([one, two, three])
    tokens, segments = np.zeros((2, 2, 11), np.int32)
    tokens[0], segments[0], positions = np.concatenate([one, two]), [1] * 5 + [2] * 6, np.zeros((2, 11), np.int32)
    positions[0], positions[1, :4], tokens[1, :4], segments[1, :4] = [*range(5), *range(6)], range(4), three, 1
    packed = Inputs(tokens, positions, segments)
    found = measure(model, packed, LogitDifference(7, 9))
    np.testing.assert_allclose(found, np.asarray(measure(model, alone, LogitDifference(7, 9)))[[1, 2]], **CLOSE)
    _, kept = capture(model, packed, Plan(("layers.1.residual",)))
    _, there = capture(model, alone, Plan(("layers.1.residual",)))
    assert kept.real("layers.1.residual").sum() == 15
    np.testing.assert_allclose(
        mean_of_places(kept, "layers.1.residual"), mean_of_places(there, "layers.1.residual"), **CLOSE
    )


def test_a_task_model_of_a_batch():
    """A head on whole texts, and one on tokens: scores of padding are nobody's."""
    texts = [np.arange(3, 9), np.arange(20, 24)]
    for pooling in ("mean", None):
        model = noisy_model(tiny_config(num_token_types=0), EncoderForTask, outputs=3, pooling=pooling)
        both = measure(model, text_inputs(texts), (LogProbability(2), LogProbability(2)))
        for value, text in zip(both, texts, strict=True):
            assert float(value) == pytest.approx(
                float(measure(model, text_inputs([text]), LogProbability(2))[0]), abs=1e-5
            )


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m, i, s: patch_grid(m, i, s, LogProbability(4)), "a grid is of one text, and these are 2"),
        (lambda m, i, s: attribution_patch(m, i, s, LogProbability(4)), "a grid is of one text, and these are 2"),
        (
            lambda m, i, s: patch_grid(m, text_inputs([np.arange(5)]), s, LogProbability(4)),
            "of 2 texts and a grid of one",
        ),
        (lambda m, i, s: measure(m, i, LogProbability(4, position=4)), "no position 4; the text has 3 tokens"),
        (lambda m, i, s: measure(m, i, lambda scores: scores.mean()), r"this one gave \(\) for 2 examples"),
        (lambda m, i, s: measure(m, i, (LogProbability(4),)), "1 metrics for 2 texts"),
        (lambda m, i, s: gradients(m, i, lambda scores: scores[:, -1], ["*.residual"]), r"\[B\]; this one gave \(2, "),
        (
            lambda m, i, s: path_patch(
                m,
                i,
                text_inputs([np.arange(3), np.arange(5)]),
                LogProbability(4),
                senders=[(0, 0)],
                receivers=["layers.1.residual"],
            ),
            "text 0 has 3 tokens in the other run and 5 here",
        ),
        (
            lambda m, i, s: without("layers.0.residual", sites(m, i), positions=[3]),
            "no position 3; the text has 3 tokens",
        ),
        (
            lambda m, i, s: without_heads(
                [(0, 0)],
                sites(m, text_inputs([np.arange(5)])),
                instead="resample",
                reference=capture(m, i, Plan(("*.mixed",)))[1],
            ),
            "of 2 texts in the other run and of 1 here",
        ),
    ],
)
def test_what_a_batch_cannot_be_asked_is_told(call, told):
    model = noisy_model(tiny_config(norm_placement="pre"), LanguageModel)
    inputs = text_inputs([np.arange(5), np.arange(3)])
    _, source = capture(model, inputs, Plan(("layers.*.residual",)))
    with pytest.raises(ValueError, match=told) as raised:
        call(model, inputs, source)
    assert "\n" not in str(raised.value)


def test_edits_know_where_texts_end():
    model = noisy_model(tiny_config(num_token_types=0), Encoder)
    there = sites(model, text_inputs([np.arange(5), np.arange(3)]))
    for edit in (
        without("layers.0.residual", there, positions=[-1]),
        steered("layers.0.residual", np.ones(16), there, positions=[-1]),
        patched("layers.0.residual", {"layers.0.residual": np.zeros((1, 5, 16))}, there, positions=[-1]),
    ):
        assert np.argwhere(edit.where[:, :, 0]).tolist() == [[0, 4], [1, 2]]
    weights = without("layers.0.attention.weights", there, positions=[-1])
    assert weights.where.shape == (2, 1, 5, 1) and np.argwhere(weights.where[:, 0, :, 0]).tolist() == [[0, 4], [1, 2]]


def test_results_of_unequal_shape_have_no_mean():
    found = PerText([np.ones(2), np.zeros(2)], ["a", "b"])
    assert (
        found.mean().tolist() == [0.5, 0.5]
        and found.spread().tolist() == [0.5, 0.5]
        and found.of(-1).tolist() == [0, 0]
    )
    with pytest.raises(ValueError, match=r"differ in length, take \.of\(i\)"):
        PerText([np.ones(2), np.ones(3)], ["a", "b"]).mean()
    assert HeadScores({"a": np.ones((1, 1))}, (0,), (0,)).of(0)["a"] == 1
