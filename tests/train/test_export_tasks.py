"""Fine-tuned models go out with their heads: whole, merged, or as an adapter, and answer elsewhere what they answer here."""

import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

import train.run
import train.session
from data.tasks.choices import Answers, Classification, MultiLabel, MultipleChoice, Regression, Tagging
from data.tasks.config import TaskData
from data.tasks.sources import TaskFiles
from data.tokenizers import load_tokenizer
from model.encoder import MaskedLanguageModel
from model.families import bert, distilbert, roberta, xlm_roberta
from model.peft import BitFit, LoRA, PeftError, PrefixTuning, load_adapter
from model.published import HubError
from model.task_models import EncoderForTask
from train import evaluate, export, published_run
from train.adapters import save_run_adapter
from train.command import run_command
from train.fine_tuning import fine_tuning
from train.mistakes import Mistakes
from train.objectives.segments import Choose
from train.objectives.tasks import Classify, ClassifyMany, FindAnswers, Regress, TagTokens
from train.outputs import outputs
from train.pretrained import load, open_any, save
from train.published_run import declared
from train.reading import ReadingError
from train.sharding import make_mesh
from train.state import split_model

VOCABULARY = Path(__file__).parents[1] / "data/published/bert"
LABELS = ("bad", "good", "neither")
TEXTS = ["the cat sat on the mat", "a very long and a very good film"]
live = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "peft")),
    reason="needs torch, transformers and peft",
)


def small(family, **fields):
    """A model of width 32 and two layers."""
    size = "base" if family is distilbert else "tiny"
    config = family.config(size, max_length=64, num_layers=2, dropout_rate=0.0, **fields)
    attention = dataclasses.replace(config.attention, num_heads=4)
    mlp = dataclasses.replace(config.mlp, intermediate_size=48)
    return dataclasses.replace(config, hidden_size=32, attention=attention, mlp=mlp)


def stirred(model):
    """The model with weights of which none is zero or one."""
    graph, state = nnx.split(model, nnx.Param)
    rng = np.random.default_rng(0)
    return nnx.merge(
        graph, jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), state)
    )


FAMILIES = {"bert": bert, "roberta": roberta, "xlm-roberta": xlm_roberta, "distilbert": distilbert}
HEADS = ("texts", "tokens", "answers", "choices")


def with_head(name, kind):
    """A small model of a family with a head for whole texts, for tokens, for the ends of answers, or for choices."""
    config = small(FAMILIES[name], vocab_size=90)
    activation = "relu" if name == "distilbert" else "tanh"
    model = {
        "texts": lambda rngs: EncoderForTask(config, 3, "first", True, activation, rngs=rngs),
        "tokens": lambda rngs: EncoderForTask(config, 3, None, rngs=rngs),
        "answers": lambda rngs: EncoderForTask(config, 2, None, kind="ends", rngs=rngs),
        "choices": lambda rngs: EncoderForTask(config, 1, "first", True, activation, kind="choices", rngs=rngs),
    }[kind]
    return stirred(model(nnx.Rngs(1)))


@pytest.fixture
def tuned(tmp_path, private_cache, monkeypatch):
    """Trains a task of three lines for two steps from a published base; gives the run."""
    for module in (train.run, train.session):
        monkeypatch.setattr(module, "make_mesh", lambda shape: make_mesh(shape, jax.devices()[:1]))
    base = tmp_path / "base"
    tokenizer = load_tokenizer(VOCABULARY)
    config = small(bert, vocab_size=tokenizer.vocab_size)
    save(MaskedLanguageModel(config, rngs=nnx.Rngs(0)), base, tokenizer=tokenizer)
    lines = [
        f"{text}\t{label}\t{number}.5\t{number % 2}"
        for number, (text, label) in enumerate(zip([*TEXTS, "x y"], LABELS, strict=True))
    ]
    (tmp_path / "task.tsv").write_text("\n".join(["sentence\tlabel\tscore\tright", *lines]) + "\n")

    def run(task=Classification(), name="run", peft=None, **fields):
        source = TaskFiles(str(tmp_path / "task.tsv"), str(tmp_path / "task.tsv"))
        data = TaskData(task=task, source=source, batch_size=2, row_length=32, bucket=32)
        chosen = fine_tuning(data, peft=peft, peak=1e-2, **fields)
        chosen = dataclasses.replace(chosen, epochs=None, steps=2)
        return train.session.train(chosen, tmp_path / name, init=str(base))

    return run


@pytest.mark.parametrize(
    ("name", "kind"),
    [  # each family and each head once, and then every pair of them
        (name, kind) if HEADS.index(kind) == number else pytest.param(name, kind, marks=pytest.mark.slow)
        for number, name in enumerate(FAMILIES)
        for kind in HEADS
    ],
)
def test_a_head_comes_back_the_same_to_the_bit(name, kind, tmp_path):
    model = with_head(name, kind)
    save(model, tmp_path / "published", family=name)
    back = load(tmp_path / "published")
    ours, theirs = (jax.tree.map(np.asarray, split_model(one).params) for one in (model, back.model))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))
    ids = np.arange(5, 15)[None]
    shapes = {"texts": {"logits": (1, 3)}, "tokens": {"logits": (1, 10, 3)}, "choices": {"logits": (1, 1)}}
    for answer, shape in shapes.get(kind, {"start_logits": (1, 10), "end_logits": (1, 10)}).items():
        assert np.array_equal(back.outputs(input_ids=ids)[answer], outputs(model, {"input_ids": ids})[answer])
        assert back.outputs(input_ids=ids)[answer].shape == shape


@pytest.mark.parametrize("name", ["bert", "roberta"])
@pytest.mark.parametrize("kind", ["tokens", "answers"])
def test_a_pooler_that_nobody_asks_is_left_aside(name, kind, tmp_path):
    """Old files hold one beside heads of tokens; what the config calls the class decides, not what lies around."""
    model = with_head(name, kind)
    save(model, tmp_path / "published", family=name)
    tensors = load_file(tmp_path / "published/model.safetensors")
    spare = {
        f"{name}.pooler.dense.weight": np.ones((32, 32), np.float32),
        f"{name}.pooler.dense.bias": np.ones(32, np.float32),
    }
    save_file(tensors | spare, tmp_path / "published/model.safetensors")
    back = load(tmp_path / "published").model
    assert back.pooler is None and back.pooling is None
    np.testing.assert_array_equal(np.asarray(back.head.kernel[...]), np.asarray(model.head.kernel[...]))


def test_a_head_that_no_published_class_has_is_refused(tmp_path):
    model = EncoderForTask(small(bert, vocab_size=90), 3, "mean", False, rngs=nnx.Rngs(0))
    with pytest.raises(HubError, match=re.escape("a head with pooling='mean' and pooler=False")):
        save(model, tmp_path / "published")
    assert not (tmp_path / "published").exists()


@pytest.mark.slow
def test_a_tuned_run_tells_labels_and_goes_out_merged_and_as_an_adapter(tuned, tmp_path, monkeypatch, capsys):
    run = tuned(peft=LoRA(rank=2))

    # It tells labels, as its own evaluation has them.
    found = run.predict(TEXTS)
    logits = np.stack(run.task_evaluator().answers(run.params)["logits"])[:2]
    assert [one.label for one in found] == [LABELS[at] for at in logits.argmax(1)]
    assert [sum(one.probabilities.values()) for one in found] == pytest.approx([1.0, 1.0])
    assert run.predict(TEXTS[0]).probabilities == pytest.approx(found[0].probabilities, abs=1e-6)
    for text, said in [(("a", "b"), "this task is of single texts"), ({"text_": "a"}, "has no column"), (" ", "empty")]:
        with pytest.raises(ValueError, match=said):
            run.predict(text)
    with pytest.raises(ReadingError, match="there is no text"):
        run.predict([])

    # Merged: a plain published model with the same answers, and the names of the labels.
    def command(*words):
        monkeypatch.setattr(sys, "argv", ["train.export", *map(str, words)])
        capsys.readouterr()
        return run_command(lambda: export.main()), *capsys.readouterr()

    code, said, error = command(run.folder.path, "--to", tmp_path / "merged")
    assert code == 0 and "BertForSequenceClassification of bert" in said, error
    fields = json.loads((tmp_path / "merged/config.json").read_text())
    assert fields["id2label"] == dict(zip("012", LABELS, strict=True))
    assert fields["problem_type"] == "single_label_classification"
    back = open_any(tmp_path / "merged")
    one, *others = (opened.inspect(TEXTS, keep=["embeddings.output"]).output for opened in (run, run.merged(), back))
    for other in others:
        np.testing.assert_allclose(one, other, atol=1e-5)

    # Its mistakes are shown with their texts, the marks of a page escaped.
    mistakes = Mistakes.of(run, most=9)
    assert len(mistakes) == sum(
        found.label != right for found, right in zip(run.predict([*TEXTS, "x y"]), LABELS, strict=True)
    )
    for place in range(len(mistakes)):
        assert mistakes.verdict(place) in repr(mistakes) and mistakes.verdict(place) in mistakes._repr_html_()

    # By itself: it comes back on the base, with the head beside it.
    code, said, error = command(run.folder.path, "--to", tmp_path / "adapter", "--adapter")
    assert code == 0 and "the LORA adapter with bert.pooler.dense, classifier in" in said, error
    loaded = load_adapter(load(tmp_path / "base").model, tmp_path / "adapter")
    np.testing.assert_array_equal(
        np.asarray(loaded.model.layers.attention.query.lora.b[...]),
        np.asarray(run.model.layers.attention.query.lora.b[...]),
    )
    kernel = np.asarray(run.model.classifier.kernel[...])
    np.testing.assert_array_equal(loaded.heads["classifier.weight"], kernel.T)
    fields = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (fields["task_type"], fields["base_model_name_or_path"]) == ("SEQ_CLS", str(tmp_path / "base"))

    # And bad input, with nothing written.
    code, said, error = command(run.folder.path, "--to", tmp_path / "new", "--adapter", "--family", "bert")
    assert (code, said) == (2, "") and "leave --family out" in error and error.count("\n") == 1, error
    whole = dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, peft=None))
    with pytest.raises(PeftError, match="trained all parameters and has no adapter"):
        save_run_adapter(whole, tmp_path / "new")
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".new*"))


@pytest.mark.slow
def test_a_published_classifier_is_scored_as_its_run_is(tuned, tmp_path, monkeypatch, capsys):
    """On other examples, of which none is kept back; labels may be numbers there. Nothing is written into the folder."""
    run = tuned()
    save(run, tmp_path / "published")
    before = {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()}
    lines = [f"{text}\t{place % 3}" for place, text in enumerate(TEXTS * 4)]
    (tmp_path / "other.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")

    def scored(folder, *words):
        monkeypatch.setattr(sys, "argv", ["train.evaluate", str(folder), *map(str, words)])
        capsys.readouterr()
        return run_command(evaluate.main), *capsys.readouterr()

    source = ("--data.source", f"files:{tmp_path / 'other.tsv'}")
    found = {}
    for folder in (tmp_path / "published", run.folder.path):
        code, said, error = scored(
            folder, *source, "--data.task.spelt", "0,1,2", "--out", tmp_path / f"{folder.name}.json"
        )
        assert code == 0, error
        found[folder.name] = json.loads((tmp_path / f"{folder.name}.json").read_text())
    assert found["run"].pop("step") == 2
    assert found["published"] == pytest.approx(found["run"], rel=1e-5)
    assert found["published"]["held_out_examples"] == 8  # a file that no run was trained on is scored whole
    answered = [run.predict(text).label == LABELS[place % 3] for place, text in enumerate(TEXTS * 4)]
    assert found["published"]["accuracy"] == pytest.approx(np.mean(answered))
    assert {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()} == before

    (tmp_path / "odd.tsv").write_text("sentence\tlabel\na text\tbad\na text\twonderful\n")
    for given, said in [
        ((), "tells labels, and is scored on examples that have them; name some with --data.source"),
        (("--data.source", f"files:{tmp_path / 'odd.tsv'}"), "odd.tsv line 3 has the label"),
        (("--data.source", f"files:{tmp_path / 'none.tsv'}"), "none.tsv"),
        (("--step", "2"), "--step is of runs, and this is a published folder"),
    ]:
        code, _, error = scored(tmp_path / "published", *given)
        assert code == 2 and said in error and error.count("\n") == 1, error


def test_what_a_published_head_is_for_is_told_by_its_fields(tmp_path):
    """Its task, with the names of its labels; transformers guesses from their number where nothing says so."""
    for pooling, count, fields, expected in [
        ("first", 3, {}, (Classification, Classify, "LABEL_0 LABEL_1 LABEL_2")),
        ("first", 2, {"id2label": {"0": "bad", "1": "good"}}, (Classification, Classify, "bad good")),
        ("first", 2, {"problem_type": "multi_label_classification"}, (MultiLabel, ClassifyMany, "LABEL_0 LABEL_1")),
        ("first", 1, {}, (Regression, Regress, "")),
        (None, 3, {"id2label": {"0": "O", "1": "B-A", "2": "I-A"}}, (Tagging, TagTokens, "O B-A I-A")),
        (None, 2, {"id2label": {"0": "NOUN", "1": "VERB"}}, (Tagging, TagTokens, "NOUN VERB")),
        ("answers", 2, {}, (Answers, FindAnswers, "")),
        ("choices", 1, {}, (MultipleChoice, Choose, "")),
    ]:
        folder = tmp_path / f"{expected[0].__name__}-{len(list(tmp_path.iterdir()))}"
        if pooling in ("answers", "choices"):
            model = with_head("bert", pooling)
        else:
            model = EncoderForTask(small(bert, vocab_size=90), count, pooling, pooling is not None, rngs=nnx.Rngs(0))
        save(model, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))
        found = declared(str(folder)).experiment
        labels = getattr(found.task_data.task, "labels", ())
        assert (type(found.task_data.task), type(found.objective), " ".join(labels)) == expected


@pytest.mark.slow
def test_other_tasks_and_other_tuning(tuned, tmp_path):
    """What can be said is said, and what cannot is refused before anything is written."""
    number = tuned(Regression(text=("sentence",), target=("score",)), "number", peft=BitFit())
    assert isinstance(number.predict(TEXTS[0]).label, float)
    save(number, tmp_path / "number_out")
    fields = json.loads((tmp_path / "number_out/config.json").read_text())
    assert fields["problem_type"] == "regression" and len(fields["id2label"]) == 1
    with pytest.raises(PeftError, match="peft has no form for bit_fit"):
        save_run_adapter(number, tmp_path / "adapter")
    prefix = tuned(name="prefix", peft=PrefixTuning(length=2))
    with pytest.raises(PeftError, match="cannot be folded into weights; keep it attached"):
        save(prefix, tmp_path / "prefix_out")
    mean = tuned(name="mean", objective=Classify(pooling="mean"))
    with pytest.raises(HubError, match="pooling='mean'"):
        save(mean, tmp_path / "mean_out")
    assert not [path for path in tmp_path.iterdir() if path.name in ("adapter", "prefix_out", "mean_out")]


CHOICES = MultipleChoice(
    text=("score",), choices=("label", "right"), label=("right",), spelt=("0", "1")
)  # short: none is cut; a choice is spelt 0 too, so how labels are read is said


@pytest.mark.slow
def test_a_model_that_chooses_is_scored_as_its_run_is(tuned, tmp_path):
    """Published, a choice is a row of its own; here they share one. Both say the same."""
    run = tuned(CHOICES)
    save(run, tmp_path / "published")
    fields = json.loads((tmp_path / "published/config.json").read_text())
    assert fields["architectures"] == ["BertForMultipleChoice"] and "id2label" not in fields
    told = declared(str(tmp_path / "published")).experiment
    mine = dataclasses.replace(run.experiment.task_data, tokenizer=None, batch_size=8)
    told = dataclasses.replace(told, data=mine)
    found, known = published_run.evaluate_task(str(tmp_path / "published"), told), run.task_evaluator().full(run.params)
    assert {name: found[name] for name in ("valid_loss", "accuracy")} == pytest.approx(
        {name: known[name] for name in ("valid_loss", "accuracy")}, rel=1e-5
    )
    back = load(tmp_path / "published")
    inputs = back.tokenizer.frame(2).fill(*back.tokenizer.encode_batch(["0.5", LABELS[0]]))
    alone = back.outputs(input_ids=inputs.ids[None], token_type_ids=inputs.types[None])["logits"][0, 0]
    assert alone == pytest.approx(run.task_evaluator().answers(run.params)["logits"][0][0], abs=1e-5)


@live
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
def test_transformers_chooses_alike(tuned, tmp_path):
    import torch
    import transformers
    from peft import PeftModel

    kind = transformers.AutoModelForMultipleChoice
    run = tuned(CHOICES, peft=LoRA(rank=2))
    save(run, tmp_path / "merged")
    save_run_adapter(run, tmp_path / "adapter")
    merged = kind.from_pretrained(tmp_path / "merged", attn_implementation="eager")
    base = kind.from_pretrained(tmp_path / "base", attn_implementation="eager")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "merged")
    for model in (merged, PeftModel.from_pretrained(base, tmp_path / "adapter")):
        for place, scores in enumerate(run.task_evaluator().answers(run.params)["logits"]):
            text, choices = f"{place}.5", [LABELS[place], str(place % 2)]
            inputs = tokenizer([text, text], choices, return_tensors="pt", padding=True)
            with torch.no_grad():
                theirs = model.eval()(**{name: value[None] for name, value in inputs.items()}).logits[0].numpy()
            np.testing.assert_allclose(scores, theirs, atol=1e-5)


@live
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
def test_transformers_and_peft_answer_alike(tuned, tmp_path):
    """Labels, ids and logits of the merged model, and of the adapter on its base."""
    import torch
    import transformers
    from peft import PeftModel

    kind = transformers.AutoModelForSequenceClassification
    run = tuned(peft=LoRA(rank=2))
    save(run, tmp_path / "merged")
    save_run_adapter(run, tmp_path / "adapter")
    merged, report = kind.from_pretrained(tmp_path / "merged", attn_implementation="eager", output_loading_info=True)
    assert not any(report.values()), report
    assert merged.config.id2label == dict(enumerate(LABELS))
    base = kind.from_pretrained(tmp_path / "base", num_labels=3, attn_implementation="eager")
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapter")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "merged")
    for text in TEXTS:
        ours = run.inspect(text, keep=["embeddings.output"]).output
        for model in (merged, adapted):
            with torch.no_grad():
                theirs = model.eval()(**tokenizer(text, return_tensors="pt")).logits[0].numpy()
            np.testing.assert_allclose(np.asarray(ours).reshape(-1), theirs, atol=1e-5)


@live
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("name", FAMILIES)
def test_transformers_reads_the_heads(name, kind, tmp_path):
    import torch
    import transformers

    model = with_head(name, kind)
    save(model, tmp_path / "published", family=name)
    (word,) = json.loads((tmp_path / "published/config.json").read_text())["architectures"]
    theirs, report = getattr(transformers, word).from_pretrained(
        tmp_path / "published", attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    ids = np.arange(5, 15)[None]
    with torch.no_grad():
        answered = theirs.eval()(torch.tensor(ids[:, None] if kind == "choices" else ids))
    ours = outputs(model, {"input_ids": ids})
    for answer in ("start_logits", "end_logits") if kind == "answers" else ("logits",):
        np.testing.assert_allclose(ours[answer], answered[answer].numpy(), atol=1e-5)
