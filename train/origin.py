"""What `--init` names: a run of ours or a published folder, whose shape, vocabulary and weights another run starts from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh

from data.tokenizers import Tokenizer, load_tokenizer
from model.config import TransformerConfig
from model.decoder import Decoder
from model.encoder import Encoder
from model.encoder_decoder import EncoderDecoder
from model.task_models import SourceEncoderForTask, StackKind
from model.weights import open_published
from train.pretrained import VOCABULARIES, find_folder, load
from train.registry import is_published
from train.run import Run, RunError, RunFolder
from train.state import Params, abstract_model, build_model, split_model


@dataclass(frozen=True)
class Origin:
    """A model that was trained before, not yet read.

    Attributes:
        name: as the user gave it.
        tokenizer: its vocabulary.
        config: its shape.
        stack: what it is made of.
        weights: reads its parameters, by the paths that they have in its own model.
    """

    name: str
    tokenizer: Tokenizer
    config: TransformerConfig
    stack: StackKind
    weights: Callable[[Mesh], Params]

    @classmethod
    def open(cls, init: str) -> "Origin":
        """Read what a run or published folder says of its model. RunError if it is neither, or no model of text."""
        if is_published(init):
            return cls._published(init)
        folder = RunFolder(init)
        experiment = folder.experiment()
        made = abstract_model(lambda rngs: build_model(experiment, rngs), experiment.seed)
        stack = stack_of(init, type(made.merge(made.params)))
        tokenizer = load_tokenizer(folder / "tokenizer")
        return cls(init, tokenizer, experiment.model, stack, lambda mesh: Run.open(init).params)

    @classmethod
    def _published(cls, init: str) -> "Origin":
        folder = find_folder(init)
        architecture = open_published(folder).architecture
        if not any((folder / name).is_file() for name in VOCABULARIES):
            raise RunError(f"--init {init} has no tokenizer; put the files there that the model was trained with")
        stack = stack_of(init, architecture.make)

        def weights(mesh: Mesh) -> Params:
            return split_model(load(init, mesh=mesh).model).params

        return cls(init, load_tokenizer(folder), architecture.config, stack, weights)


def stack_of(init: str, kind: Any) -> StackKind:
    """What a class of models is made of; RunError for one that reads no text."""
    if issubclass(kind, Encoder):
        return "encoder"
    if issubclass(kind, Decoder):
        return "decoder"
    if issubclass(kind, EncoderDecoder | SourceEncoderForTask):
        return "encoder_decoder"
    raise RunError(f"--init {init} is a {kind.__name__}, which reads no text; name a model of text")
