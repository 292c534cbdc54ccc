"""Looking into models with text: runs and published folders alike, edits that end with their block, and bad input in one line."""

import sys
from pathlib import Path

import numpy as np
import pytest

from model.capture import SiteError
from train import inspect as command
from train.command import run_command
from train.pretrained import load, open_any
from train.reading import ReadingError, log_probability, logit_difference
from train.run import Run

TWINS = Path(__file__).parents[1] / "twins"
LENGTHS = ("--steps", "4", "--evaluate-every", "2", "--evaluate-rows", "8", "--checkpoint-every", "2", "--keep", "log")
TEXT = "the [MASK] sat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inspected") / "run"


OPENED: dict[Path, Run] = {}


@pytest.fixture
def run(here, folder) -> Run:
    """A run of four steps, byte by byte, trained and opened once."""
    if folder not in OPENED:
        assert here("--run-dir", folder, *LENGTHS).code == 0
        OPENED[folder] = Run.open(folder)
    return OPENED[folder]


@pytest.fixture
def told(monkeypatch, capsys):
    """Runs the command in this process: exit code, output, errors."""

    def go(*words) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["train.inspect", *map(str, words)])
        try:
            code = run_command(command.main)
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return go


def test_what_is_seen_has_names(run):
    seen = run.inspect(TEXT, keep=["*"])
    assert set(seen) == set(run.sites(TEXT))
    weights = seen["layers.0.attention.weights"]
    assert weights.axes == ("head", "query", "key") and len(seen.words[0]) == weights.shape[-1]
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert "[MASK]" in seen.words[0] and seen.words[0][0] == "[CLS]"
    assert run.inspect(TEXT, keep=["*"], dry=True).bytes == sum(seen[site].nbytes for site in seen)
    assert str(run.sites()).count("\n") == len(run.sites())


def test_padding_changes_nothing(run):
    """Two texts together are the two by themselves."""
    both = run.inspect(["a cat", "the dog sat on the mat"], keep=["*.weights", "*.residual"])
    for number, text in enumerate(both.texts):
        alone, cut = run.inspect(text, keep=["*.weights", "*.residual"]), both.of(number)
        for site in alone:
            np.testing.assert_allclose(cut[site], alone[site], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(cut.maps().weights, alone.maps().weights, rtol=1e-4, atol=1e-5)
    assert both["layers.0.attention.weights"].axes == ("example", "head", "query", "key")


def test_edits_end_with_their_block(run):
    metric = logit_difference("a", "b")
    before = run.measure(TEXT, metric)
    with run.edits(ablate_heads=[(0, 1)]):
        seen = run.inspect(TEXT, keep=["*.mixed"])
        assert not seen["layers.0.attention.mixed"].at(head=1).any() and run.measure(TEXT, metric) != before
        with run.edits(ablate_mlps=[0], positions=[-1]):
            assert not run.inspect(TEXT, keep=["*.mlp.output"])["layers.0.mlp.output"][-1].any()
            assert not run.inspect(TEXT, keep=["*.mixed"])["layers.0.attention.mixed"].at(head=1).any()
    assert run.measure(TEXT, metric) == before
    seen = run.inspect(TEXT, keep=["*.mixed"])
    with run.edits(patch={"layers.0.attention.mixed": seen}):
        assert run.measure(TEXT, metric) == pytest.approx(before, abs=1e-4)


def test_metrics_look_at_the_mask(run):
    logits = run.inspect(TEXT, keep=["*.residual"]).output
    place = run.inspect(TEXT).words[0].index("[MASK]")
    a, b = (int(run.tokenizer.encode(word)[0]) for word in "ab")
    assert run.measure(TEXT, logit_difference("a", "b")) == pytest.approx(
        float(logits[place, a] - logits[place, b]), abs=1e-4
    )
    last = run.measure("the cat", log_probability("a", position=-1))
    assert np.exp(last) < 1


def test_arrays_are_drawn_with_the_names_of_their_axes(run, monkeypatch):
    import treescope

    asked, draw = {}, treescope.render_array
    monkeypatch.setattr(
        treescope, "render_array", lambda array, **options: (asked.update(options), draw(array, **options))[1]
    )
    drawn = run.inspect(TEXT)["layers.0.attention.weights"].show()
    assert asked["axis_labels"] == {0: "head", 1: "query", 2: "key"} and list(asked["sliders"]) == [0]
    assert "treescope" in drawn._repr_html_()


def test_what_a_decoder_writes_is_seen(tmp_path, here):
    """One clean run over prompt and output: its last scores foretell, greedily, each token that was written."""
    words = ("--objective.name", "next_token", *LENGTHS)
    assert here("--run-dir", tmp_path, *words).code == 0
    run = Run.open(tmp_path)
    before, seen = run.inspect("abc"), run.inspect("abc", max_new_tokens=6)
    written = seen.tokens[0][len(before.tokens[0]) :]
    assert 1 <= len(written) <= 6
    np.testing.assert_array_equal(np.asarray(seen.output).argmax(-1)[len(before.tokens[0]) - 1 : -1], written)
    with pytest.raises(ReadingError, match="one side only"):
        run.inspect("abc", target="d")


def test_a_checkpoint_is_a_run(run, folder):
    """Log-spaced checkpoints open by step, and are not the same."""
    first, last = run.at(1), Run.open(folder)
    assert first.step == 1 and last.step == 4
    one, other = (where.inspect(TEXT)["layers.0.residual"] for where in (first, last))
    assert np.abs(one - other).max() > 1e-4


def test_a_grid_in_words(run):
    grid = run.patch_grid("the cat sat", "the dog sat", metric=log_probability("t"), site="residual")
    assert grid.words is not None and grid.values.shape == (1, len(grid.words))
    assert grid.restored.axes == ("layer", "position")
    estimate = run.patch_grid("the cat sat", "the dog sat", metric=log_probability("t"), by_gradient=True)
    assert np.abs(np.asarray(estimate.values) - np.asarray(grid.values)).max() < 0.5
    assert "changes" in repr(grid)


def test_published_folders_are_looked_into_alike():
    """BERT, GPT-2 and T5 without a tokenizer, by ids."""
    for name in ("bert", "gpt2"):
        opened = open_any(TWINS / name)
        seen = opened.inspect(np.array([5, 6, 7, 8]))
        assert seen.words[0] == ("5", "6", "7", "8") and seen.maps().kind == (
            "encoder" if name == "bert" else "decoder"
        )
        assert opened.inspect(np.array([5, 6, 7])).head_scores()["entropy"].shape == seen.maps().weights.shape[:2]
    both = load(TWINS / "t5")
    with pytest.raises(ReadingError, match="two sides; give a target"):
        both.inspect(np.array([5, 6, 7]))


def test_the_command_writes_a_page(run, folder, told, tmp_path):
    code, said, errors = told(folder, "the cat sat", "--out", tmp_path / "maps.html")
    assert code == 0, errors
    assert "1 layers x 2 heads" in said and (tmp_path / "maps.html").stat().st_size > 10_000
    code, said, _ = told(folder, "--sites")
    assert code == 0 and "layers.0.attention.weights" in said
    code, said, errors = told(folder, "the cat sat", "--step", "1,4", "--out", tmp_path / "steps.html")
    assert code == 0 and "2 of them" in said, errors


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["the cat " * 40], "the text has 322 tokens and the model reads at most 32; shorten it"),
        ([" "], "the text is empty; give at least one word"),
        (["cat", "--layers", "3"], "there is no layer 3 here; there are 0"),
        (["cat", "--heads", "7"], "there is no head 7 here; there are 0, 1"),
        (["cat", "--kind", "cross"], "no cross maps were kept; there are encoder"),
        (["cat", "--target", "dog"], "this model has one side only; leave target out"),
        (["cat", "dog", "--step", "1,4"], "several texts and several steps are not compared at once"),
        (["cat", "--out", "maps.pdf"], "maps.pdf is not named .html"),
    ],
)
def test_bad_input_is_one_line(words, error, run, folder, told):
    code, _, errors = told(folder, *words)
    assert code == 2 and error in errors and errors.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (
            lambda run: run.inspect(TEXT, keep=["layers.9.residual"]),
            "no site 'layers.9.residual'; the nearest are layers.0",
        ),
        (lambda run: run.inspect(TEXT, keep=["*cross_attention*"]), "no site"),
        (lambda run: run.inspect(TEXT, keep=["*"], limit=100), "keep fewer, or pass limit="),
        (lambda run: run.edits(ablate_heads=[(0, 5)]).__enter__(), "no head 5 in layer 0; its heads are 0 to 1"),
        (lambda run: run.edits(ablate_heads=[(0, 0)], instead="mean").__enter__(), "needs a reference"),
        (lambda run: run.measure(TEXT, logit_difference("cat", "b")), "'cat' is 3 tokens"),
        (lambda run: run.inspect([]), "there is no text"),
        (lambda run: run.inspect(np.array([999])), "ids must lie in"),
    ],
)
def test_what_cannot_be_looked_at_is_told(ask, error, run):
    with pytest.raises((SiteError, ReadingError), match=r".") as raised:
        ask(run)
    assert error in str(raised.value) and "\n" not in str(raised.value)


def test_calls_that_ask_for_nothing_are_one_line(run):
    seen = run.inspect(TEXT)
    for call, said in (
        (lambda: seen.head_scores().top("entropy", -1), "count=-1 is no number of entries"),
        (lambda: seen.logit_lens([]), "places names none"),
        (lambda: run.inspect(5), "'5' is no text"),
        (lambda: run.inspect("a \ud800 b"), "half of a surrogate pair at character 2"),
        (lambda: run.inspect(("a", "\ud800")), "half of a surrogate pair"),
        (lambda: log_probability("\ud800").resolve(run.tokenizer, np.arange(3)), "half of a surrogate pair"),
        (lambda: log_probability(5).resolve(run.tokenizer, np.arange(3)), "'5' is no word"),
        (lambda: run.at(step="4"), "step='4' is no step"),
        (lambda: run.at(step=4.0), "step=4.0 is no step"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    assert seen.head_scores().top("entropy", 0) == []
