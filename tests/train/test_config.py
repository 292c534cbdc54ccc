"""Experiments as values: checked when they are made, carried through JSON, compared field by field."""

import dataclasses
import json
import re

import numpy as np
import pytest

from data.config import TextData
from data.sources import TFDS, Files, Mixture, PythonDocs, PythonSource, Synthetic
from data.tokenizers.choices import Bytes, SentencePiece
from model.attention import MultiHead
from model.config import from_json, to_json
from model.families import bert
from model.initializers import OffsetHeads
from model.positions import SinusoidalPositions
from model.stack import Stack
from train import registry
from train.agreement import compare, resume_refusals
from train.config import Experiment, Guard
from train.objectives import MaskedLM
from train.optimizers import LAMB, AdamW, Lion
from train.schedules import Constant, WarmupCosine, WarmupLinear
from train.tree import differences, put_together, take_apart

NAMES = [entry.name for entry in registry.entries() if not entry.is_task]
SLOWEST = 700  # tokens a second of bert_small on two slow cores

EXPERIMENT = Experiment(
    data=TextData(tokenizer=SentencePiece(4_096)),
    model=bert.config("tiny", vocab_size=4_096),
    objective=MaskedLM(),
    optimizer=AdamW(schedule=WarmupLinear(peak=5e-4, warmup_steps=10)),
    steps=100,
    accelerator_steps=1_000,
    evaluate_every=20,
    checkpoint_every=10,
)


def change(experiment: Experiment = EXPERIMENT, **fields) -> Experiment:
    return dataclasses.replace(experiment, **fields)


@pytest.mark.parametrize("name", NAMES)
def test_declared_experiments_say_what_they_are_and_survive_json(name):
    declared = registry.load(name)
    for word in ("Paper:", "Departs:", f"--exp={name}", "Try:", "Result:"):
        assert word in declared.text
    assert from_json(Experiment, json.loads(json.dumps(to_json(declared.experiment)))) == declared.experiment


def test_bert_small_has_the_paper_s_architecture_and_its_default_run_fits_a_slow_cpu():
    small = registry.load("bert_small").experiment
    recipe = {"attention": MultiHead(8, dropout_rate=0.0), "dropout_rate": 0.0, "initializer": OffsetHeads(0.02)}
    assert dataclasses.replace(small.model, stack=Stack()) == bert.config(  # unrolled: equal in value
        "small", vocab_size=8_192, **recipe
    )
    assert small.model.norm_placement == "post" and small.model.mlp.activation == "gelu"
    tokens = small.data.batch_size * small.data.row_length
    assert 1.4e6 < small.steps * tokens < 1.5e6
    assert small.evaluate_every * tokens / SLOWEST < 300 and small.checkpoint_every * tokens / SLOWEST < 300


def test_bert_base_is_the_paper_s():
    base = registry.load("bert_base").experiment
    assert (base.model.num_layers, base.model.hidden_size, base.model.vocab_size) == (12, 768, 30_522)
    assert (base.data.row_length, base.data.batch_size, base.steps) == (512, 256, 1_000_000)
    assert base.optimizer.schedule == WarmupLinear(peak=1e-4, warmup_steps=10_000)


@pytest.mark.parametrize(
    "source", [PythonDocs(), PythonSource(), TFDS(), Files("a b/*.txt"), Synthetic(9), Mixture()], ids=str
)
def test_every_source_survives_json(source):
    experiment = change(data=dataclasses.replace(EXPERIMENT.data, source=source))
    assert from_json(Experiment, json.loads(json.dumps(to_json(experiment)))) == experiment


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"evaluate_every": 0}, "evaluate_every=0 must be at least 1"),
        ({"accelerator_steps": 0}, "accelerator_steps=0 must be at least 1, or None"),
        ({"seed": -1}, "seed=-1 must lie in"),
        ({"accumulate": 5}, "data.batch_size=32 is not a multiple of accumulate=5; use 1, 2, 4, 8, 16 or 32"),
        ({"data": TextData(row_length=1_024)}, "data.row_length=1024 is longer than model.positions.max_length=512"),
    ],
)
def test_impossible_values_are_refused_with_the_remedy(fields, words):
    with pytest.raises(ValueError, match=words) as refused:
        change(**fields)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="max_skips=0"):
        Guard(max_skips=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: change(steps="100"), "steps: expected int, found '100'"),
        (lambda: change(steps=5.5), "steps: expected int, found 5.5"),
        (lambda: change(objective=MaskedLM(next_sentence="no")), "objective.next_sentence: expected bool, found 'no'"),
        (
            lambda: change(data=TextData(tokenizer=SentencePiece(4_096, kind="bep"))),
            "data.tokenizer.kind: 'bep' is not",
        ),
        (lambda: change(guard=None), "guard"),
        (lambda: change(seed=np.int64(3)), "seed: int64 cannot be written as JSON; write a plain number"),
    ],
)
def test_a_value_of_another_kind_is_refused_where_it_is_declared(make, words):
    """What would train, and then could not be opened."""
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


def test_a_word_that_is_no_field_names_the_nearest(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from train.optimizers import AdamW\n\nexperiment = AdamW(\n    weight_dekay=0.9)\n"
    )
    with pytest.raises(ValueError, match=r"mine.py, line 3: .*; did you mean weight_decay\?"):
        registry.load(str(tmp_path / "mine.py"))


def test_rows_may_be_longer_than_a_learned_table_where_there_is_none():
    model = dataclasses.replace(EXPERIMENT.model, positions=SinusoidalPositions())
    assert change(data=TextData(row_length=1_024), model=model).data.row_length == 1_024


def test_steps_on_an_accelerator():
    cpu, gpu = (EXPERIMENT.for_platform(platform) for platform in ("cpu", "gpu"))
    assert (cpu.steps, cpu.evaluate_every, cpu.checkpoint_every, cpu.compute_dtype) == (100, 20, 10, "float32")
    assert (gpu.steps, gpu.evaluate_every, gpu.checkpoint_every, gpu.compute_dtype) == (1_000, 200, 100, "bfloat16")
    assert cpu.accelerator_steps is None and gpu.accelerator_steps is None
    assert gpu.for_platform("gpu") == gpu, "deciding again changes nothing"
    asked = EXPERIMENT.for_platform("gpu", given={"steps"})
    assert (asked.steps, asked.evaluate_every) == (100, 20)
    asked = EXPERIMENT.for_platform("gpu", given={"evaluate_every"})
    assert (asked.steps, asked.evaluate_every, asked.checkpoint_every) == (1_000, 20, 100)
    assert change(compute_dtype="float32").for_platform("tpu").compute_dtype == "float32"


def test_the_tokenizer_decides_the_vocabulary():
    assert EXPERIMENT.with_vocabulary(4_001).model == bert.config("tiny", vocab_size=4_001)


def test_compare_names_each_field():
    new = change(
        steps=200, optimizer=dataclasses.replace(EXPERIMENT.optimizer, schedule=WarmupLinear(1e-3, warmup_steps=10))
    )
    lines = ["optimizer.schedule.peak: was 0.0005, now 0.001", "steps: was 100, now 200"]
    assert compare(EXPERIMENT, EXPERIMENT) == []
    assert compare(EXPERIMENT, new) == lines
    assert compare(EXPERIMENT, new, may_change={"steps"}) == lines[:1]
    assert compare(EXPERIMENT, new, may_change={"optimizer"}) == lines[1:]


def test_compare_names_a_choice_that_was_swapped_and_its_fields():
    new = change(data=dataclasses.replace(EXPERIMENT.data, tokenizer=Bytes()))
    assert compare(EXPERIMENT, new) == [
        "data.tokenizer.name: was sentence_piece, now bytes",
        "data.tokenizer.vocab_size: was 4096, now absent",
        "data.tokenizer.kind: was unigram, now absent",
        "data.tokenizer.sentinels: was 0, now absent",
        "data.tokenizer.path: was None, now absent",
    ]


def test_resuming_may_change_steps_only_where_the_schedule_does_not_depend_on_them():
    assert resume_refusals(EXPERIMENT, EXPERIMENT) == []
    assert resume_refusals(EXPERIMENT, change(accelerator_steps=None)) == []
    assert resume_refusals(EXPERIMENT, change(steps=200)) == [
        "steps: was 100, now 200 (the warmup_linear schedule is drawn over all steps)"
    ]
    constant = change(optimizer=AdamW(schedule=Constant(peak=5e-4)))
    assert resume_refusals(constant, change(constant, steps=200)) == []
    assert len(resume_refusals(constant, change(constant, steps=200, seed=1))) == 1
    cosine = change(optimizer=AdamW(schedule=WarmupCosine(peak=5e-4)))
    assert [line.split(":")[0] for line in resume_refusals(constant, cosine)] == [
        "optimizer.schedule.name",
        "optimizer.schedule.final",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_taking_apart_and_putting_together_is_the_identity(name):
    experiment = registry.load(name).experiment
    assert put_together(take_apart(experiment)) == experiment
    assert differences(experiment, experiment) == []


def test_optimizers_share_the_names_of_what_they_share():
    shared = {"schedule", "weight_decay", "clip_norm"}
    for kind in (AdamW, Lion, LAMB):
        assert shared < {field.name for field in dataclasses.fields(kind)}
