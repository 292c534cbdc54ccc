"""A published folder in the place of a run: the experiment that scores it, and its scores on somebody's text."""

from typing import Any

from data.config import TextData
from data.held_out import held_out_from_source
from data.sources import PythonDocs
from data.tokenizers.choices import TokenizerJSON
from model.decoder import LanguageModel
from model.encoder import MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.published import HubError
from model.weights import open_published
from train.config import Experiment
from train.evaluator import Evaluator
from train.objectives import MaskedLM, NextToken, SequenceToSequence
from train.optimizers import AdamW
from train.pretrained import find_folder, load, longest
from train.registry import Declared
from train.sharding import MeshShape, check_batch, make_mesh
from train.state import Built, split_model, state_shapes

# The objective by which each kind of model is scored.
OBJECTIVES: dict[Any, Any] = {
    LanguageModel: NextToken(),
    MaskedLanguageModel: MaskedLM(next_sentence=False),
    EncoderDecoder: SequenceToSequence(),
}
LONGEST_ROW, ROWS = 512, 8
GLANCE, WHOLE = 200, 10_000  # documents: of a text that nobody asked for, and of one that somebody did


def declared(folder: str) -> Declared:
    """The experiment whose objective scores a model of this kind, on rows as long as its positions, 512 tokens at most.

    HubError if it has no head to be scored.
    """
    published = open_published(find_folder(folder))
    architecture = published.architecture
    if architecture.make not in OBJECTIVES:
        raise HubError(
            f"{folder} is a {architecture.make.__name__} without a head that scores tokens, so it has no loss; "
            "name a folder with one, as BertForMaskedLM or GPT2LMHeadModel save it"
        )
    length = min(LONGEST_ROW, longest(architecture.config, published.fields))
    experiment = Experiment(
        data=TextData(
            source=PythonDocs(), tokenizer=TokenizerJSON(str(published.folder)), row_length=length, batch_size=ROWS
        ),
        model=architecture.config,
        objective=OBJECTIVES[architecture.make],
        optimizer=AdamW(),
        steps=1,
        compute_dtype="float32",
    )
    return Declared(published.folder.name, experiment, f"The published model in {published.folder}.")


def evaluate(folder: str, experiment: Experiment, *, mesh: str = "", most: int = WHOLE) -> dict[str, float]:
    """Every score of the objective on the text of `experiment.data.source`, at most so many documents of each corpus."""
    devices = make_mesh(MeshShape.parse(mesh))
    check_batch(experiment.data.batch_size, 1, devices)
    pretrained = load(folder, mesh=devices)
    if pretrained.tokenizer is None:
        raise HubError(f"{pretrained.folder} has no tokenizer to read text with; put its files there")
    documents = held_out_from_source(experiment.text_data.source, pretrained.tokenizer, most=most)
    parts, optimizer = split_model(pretrained.model), experiment.optimizer.build(1)
    built = Built(parts, optimizer, state_shapes(parts, optimizer, devices), devices)
    return Evaluator(built, experiment, pretrained.tokenizer, documents).full(parts.params)
