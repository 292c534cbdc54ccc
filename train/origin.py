"""What `--init` names: a run of ours or a published folder, whose shape, vocabulary and weights another run starts from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh

from data.tasks.choices import Generation, Task
from data.tokenizers import Tokenizer, load_tokenizer
from model.config import TransformerConfig
from model.decoder import Decoder
from model.encoder import Encoder
from model.encoder_decoder import EncoderDecoder
from model.task_models import SourceEncoderForTask, StackKind
from model.weights import open_published
from train.head_labels import HeadLabels
from train.pretrained import VOCABULARIES, find_folder, load
from train.registry import is_published
from train.run import Run, RunError, RunFolder
from train.state import Params, abstract_model, build_model, split_model

# What a stack that writes is called, the objective that trains it on a task, and the sides of its rows.
WRITERS = {
    "decoder": ("a decoder", "next_token", "one"),
    "encoder_decoder": ("an encoder-decoder", "sequence_to_sequence", "two"),
}


@dataclass(frozen=True)
class Origin:
    """A model that was trained before, not yet read.

    Attributes:
        name: as the user gave it.
        tokenizer: its vocabulary.
        config: its shape.
        stack: what it is made of.
        weights: reads its parameters, by the paths that they have in its own model, and says of which step they are; few that
            were trained are merged into the others.
        head: what the rows of its head are called.
    """

    name: str
    tokenizer: Tokenizer
    config: TransformerConfig
    stack: StackKind
    weights: Callable[[Mesh], tuple[Params, int | None]]
    head: HeadLabels = HeadLabels()

    @classmethod
    def open(cls, init: str, step: int | None = None) -> "Origin":
        """Read what a run or published folder says of its model; `step` is that of a checkpoint of a run.

        RunError if it is neither, or no model of text.
        """
        if is_published(init):
            return cls._published(init)
        folder = RunFolder(init)
        experiment = folder.experiment()
        made = abstract_model(lambda rngs: build_model(experiment, rngs), experiment.seed)
        stack = stack_of(init, type(made.merge(made.params)))
        folder.check("tokenizer")
        tokenizer = load_tokenizer(folder / "tokenizer")
        head = HeadLabels.of_task(experiment.task_data.task) if experiment.is_task else HeadLabels()

        def weights(mesh: Mesh) -> tuple[Params, int]:
            run = Run.open(init, step)
            params = run.params if experiment.peft is None else split_model(run.merged().model).params
            return params, run.step

        return cls(init, tokenizer, experiment.model, stack, weights, head)

    @classmethod
    def _published(cls, init: str) -> "Origin":
        folder = find_folder(init)
        published = open_published(folder)
        architecture = published.architecture
        if not any((folder / name).is_file() for name in VOCABULARIES):
            raise RunError(f"--init {init} has no tokenizer; put the files there that the model was trained with")
        stack = stack_of(init, architecture.make)

        def weights(mesh: Mesh) -> tuple[Params, None]:
            return split_model(load(init, mesh=mesh).model).params, None

        head = HeadLabels.of_published(published.fields, architecture.options)
        return cls(init, load_tokenizer(folder), architecture.config, stack, weights, head)


def check_init(init: str, *, fresh: bool = False) -> None:
    """RunError or HubError, before any data is read, where --init names nothing that a run can start from; `fresh` needs no
    weights."""
    if is_published(init):
        find_folder(init)
        return
    folder = RunFolder(init)
    if not folder.path.is_dir():
        raise RunError(
            f"--init {init} is not a run folder: there is none of this name; give a run folder, a published folder, or "
            "OWNER/NAME of one on the Hugging Face hub"
        )
    if not folder.exists() and not (folder / "adapter_config.json").is_file():
        raise RunError(
            f"--init {init} is not a run folder, nor a published one (it has no config.json); give the folder of one"
        )
    folder.experiment()
    if not fresh and not any((folder / "checkpoints").glob("[0-9]*")):
        raise RunError(f"--init {init} has no checkpoint yet; train it further first, or name another")


def stack_of(init: str, kind: Any) -> StackKind:
    """What a class of models is made of; RunError for one that reads no text."""
    if issubclass(kind, Encoder):
        return "encoder"
    if issubclass(kind, Decoder):
        return "decoder"
    if issubclass(kind, EncoderDecoder | SourceEncoderForTask):
        return "encoder_decoder"
    raise RunError(f"--init {init} is a {kind.__name__}, which reads no text; name a model of text")


def check_sides(origin: Origin, task: Task) -> None:
    """RunError where a task that writes text is to be learnt by a model that cannot write it as the task asks."""
    if not isinstance(task, Generation):
        return
    if origin.stack == "encoder":
        raise RunError(
            f"--init {origin.name} is an encoder, which writes no text; name a decoder or an encoder-decoder"
        )
    fits, word, sides = WRITERS[origin.stack]
    if task.sides != sides:
        raise RunError(f"--init {origin.name} is {fits}, and this experiment trains a model of {task.sides} side"
                       f"{'s' * (task.sides == 'two')}; add --objective.name {word} --data.task.sides {sides}")  # fmt: skip
