"""Every declared experiment: it loads, says what it should, survives JSON, and its training step compiles as declared."""

import dataclasses
import importlib

import jax
import pytest

from data.pipeline import eval_batches
from data.prepared import prepare
from data.sources import Synthetic
from data.synthetic_tasks import CopyTask
from data.tokenizers.choices import Bytes, SentencePiece, Words
from model.config import from_json, to_json
from train.config import Experiment
from train.objectives import SequenceToSequence
from train.registry import entries
from train.sharding import MeshShape, make_mesh, replicated
from train.state import build, parameter_count
from train.step import StepOptions, make_step

MODULES = {entry.name: entry.module for entry in entries()}
NAMES = list(MODULES)
TASKS = [entry.name for entry in entries() if entry.is_task]
PRETRAINED = [name for name in NAMES if name not in TASKS]
# Published sizes: arXiv:1810.04805 (without the two heads' transforms), GPT-2's model card, arXiv:1910.10683, arXiv:1706.03762.
MILLIONS = {
    "bert_base": (108, 112),
    "gpt2_124m": (124, 125),
    "t5_small": (60, 61),
    "transformer_base_wmt": (60, 66),
    "shakespeare_char": (0.804, 0.805),
}


def load(name: str) -> tuple[Experiment, str]:
    module = importlib.import_module(MODULES[name])
    return module.experiment, module.__doc__


def batch_shapes(experiment: Experiment):
    """The shapes of a batch of this experiment; they do not depend on the text, so one made by a seed stands in for it."""
    paired = isinstance(experiment.objective, SequenceToSequence)
    source = CopyTask() if paired else Synthetic(documents=64)
    sentinels = getattr(experiment.data.tokenizer, "sentinels", 0)
    tokenizer = SentencePiece(vocab_size=300 + sentinels, sentinels=sentinels) if sentinels else Bytes()
    data = dataclasses.replace(
        experiment.data, source=source, tokenizer=Words() if paired else tokenizer, valid_fraction=0.5
    )
    prepared = prepare(data, say=lambda text: None)
    objective = experiment.objective
    corrupt = objective.corrupt(prepared.tokenizer, data.row_length)
    batch = next(eval_batches(prepared.valid, data, objective.packing(), corrupt, seed=0))
    return jax.tree.map(lambda rows: jax.ShapeDtypeStruct(rows.shape, rows.dtype), batch)


@pytest.mark.parametrize("name", TASKS)
def test_docstring_of_a_task_says_what_it_should(name):
    experiment, text = load(name)
    for word in ("Run:", f"python -m train.finetune --exp={name} --init="):
        assert word in text, f"experiments/tasks/{name}.py does not say {word!r}"
    assert ("Paper:" in text and "Departs:" in text) or "Question:" in text
    assert experiment.is_task and experiment.epochs


@pytest.mark.parametrize("name", PRETRAINED)
def test_docstring_says_what_it_should(name):
    _, text = load(name)
    for word in ("Paper:", "Departs:", "Run:", "Result:", f"python -m train.pretrain --exp={name}"):
        assert word in text, f"experiments/{name}.py does not say {word!r}"


@pytest.mark.parametrize("name", NAMES)
def test_survives_json(name):
    experiment, _ = load(name)
    assert from_json(Experiment, to_json(experiment)) == experiment


QUICK = {"bert_tiny", "gpt2_124m", "t5_tiny"}  # a model of each kind; the others are among the slow tests


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PRETRAINED]
)
def test_step_compiles_as_declared(name):
    """Abstractly, on eight devices: nothing of its size is ever allocated."""
    experiment = load(name)[0].for_platform("cpu")
    built = build(experiment, make_mesh(MeshShape(data=2, fsdp=2, tensor=2)))
    low, high = MILLIONS.get(name, (0, 1e9))
    assert low <= parameter_count(built.parts.params) / 1e6 <= high
    schedule = experiment.optimizer.schedule.build(experiment.steps)
    step = make_step(built.parts, experiment.objective, built.optimizer, schedule, StepOptions(experiment.seed))
    where = (jax.tree.map(lambda leaf: leaf.sharding, built.target), replicated(built.mesh))
    with jax.set_mesh(built.mesh):
        jax.jit(step, donate_argnums=0, out_shardings=where).lower(built.target, batch_shapes(experiment)).compile()
