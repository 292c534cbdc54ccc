"""A published folder in the place of a run: the experiment that scores it, and its scores on somebody's text or examples."""

from dataclasses import replace
from typing import Any

from data.config import TextData
from data.errors import DataError
from data.held_out import held_out_from_source
from data.sources import PythonDocs
from data.tasks.choices import Answers, Classification, MultiLabel, MultipleChoice, Regression, Tagging
from data.tasks.config import TaskData
from data.tasks.held_out import open_scored
from data.tasks.sources import TaskFiles
from data.tasks.tag_schemes import spelling_of
from data.tokenizers import Tokenizer
from data.tokenizers.choices import TokenizerJSON
from model.decoder import LanguageModel
from model.encoder import MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.published import HubError
from model.task_models import EncoderForTask
from model.weights import Published, open_published
from train.config import Experiment
from train.evaluator import Evaluator
from train.fine_tuning import fine_tuning
from train.head_labels import check_problem, check_renamed, problem_of, published_labels
from train.objectives import MaskedLM, NextToken, SequenceToSequence
from train.objectives.segments import Choose
from train.objectives.tasks import Classify, ClassifyMany, FindAnswers, Regress, TagTokens
from train.optimizers import AdamW
from train.pretrained import find_folder, load, longest
from train.registry import Declared
from train.room import check_rows
from train.sharding import MeshShape, make_mesh
from train.state import Built, Params, split_model, state_shapes
from train.tag_metrics import doubtful_scheme
from train.task_evaluator import TaskEvaluator
from train.task_scores import predicted_tags

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
    if architecture.make is EncoderForTask:
        return Declared(
            published.folder.name, task_experiment(published), f"The published model in {published.folder}."
        )
    if architecture.make not in OBJECTIVES:
        raise HubError(
            f"{folder} has no head that scores tokens or labels (its class is {architecture.make.__name__}), so it has no loss; "
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


def task_experiment(published: Published) -> Experiment:
    """The experiment that scores a published model with a head for labels, which are named as its config.json has them.

    Whether one class is right, several or none, or whether there is a number, is told by `problem_type`, or as transformers
    guesses it: one label is a number. HeadError for a head of several numbers, or of one class.
    """
    options, fields = published.architecture.options, published.fields
    labels = published_labels(fields, options["outputs"])
    head = {"stack": "encoder", "pooling": options["pooling"], "pooler": options["pooler"], "outputs": len(labels)}
    length = min(LONGEST_ROW, longest(published.architecture.config, fields))
    stride = TaskData.stride
    kind, problem = options.get("kind"), problem_of(fields, len(labels))
    if kind not in ("ends", "choices") and options["pooling"] is not None:
        check_problem(str(published.folder), problem, len(labels))
    if kind == "ends":
        task, objective, stride = Answers(), FindAnswers(), min(128, length // 4)
    elif kind == "choices":
        task, objective = MultipleChoice(), Choose(**head)
    elif options["pooling"] is None:
        task, objective = tagging(labels), TagTokens(outputs=len(labels))
    elif problem == "regression":
        task, objective = Regression(), Regress(**head)
    elif problem == "multi_label_classification":
        task, objective = MultiLabel(labels=labels), ClassifyMany(**head)
    else:
        task, objective = Classification(labels=labels), Classify(**head)
    data = TaskData(task=task, source=TaskFiles(), row_length=length, stride=stride)
    return fine_tuning(data, objective=objective, model=published.architecture.config, compute_dtype="float32")


def tagging(labels: tuple[str, ...]) -> Tagging:
    """The task of these tags, whose scheme is found in the examples; words by themselves where they spell no spans."""
    try:
        spans = spelling_of(labels) is not None
    except DataError:
        spans = False
    return Tagging(labels=labels) if spans else Tagging(labels=labels, scheme=None, metrics=("accuracy",))


def evaluate_task(folder: str, experiment: Experiment, *, mesh: str = "") -> dict[str, Any]:
    """Every score of the task on the examples of `experiment.data.source`: those held out, or all where none are.

    Labels do not say which of two schemes with the same letters a head writes its tags in. Where its answers clearly follow
    another one than the examples, these are rewritten to it. HeadError where `experiment` names the labels of the folder in
    another order.
    """
    own = getattr(task_experiment(open_published(find_folder(folder))).task_data.task, "labels", None)
    given = getattr(experiment.task_data.task, "labels", None)
    if own and given and (line := check_renamed(folder, given, own)):
        print(line)
    built, params, tokenizer = built_from(folder, experiment, mesh)
    data = experiment.task_data
    examples = open_scored(data, tokenizer)
    evaluator = TaskEvaluator(built, experiment, examples, tokenizer)
    if isinstance(data.task, Tagging) and data.task.scheme == "auto" and isinstance(examples.task, Tagging):
        tags = predicted_tags(examples, evaluator.answers(params)["logits"])
        if other := doubtful_scheme(tags, examples.task.scheme or "", examples.labels):
            print(
                f"the tags of {folder} follow {other}; --data.task.scheme {examples.task.scheme} scores them as they are"
            )
            examples = open_scored(replace(data, task=replace(data.task, scheme=other)), tokenizer)
            evaluator = TaskEvaluator(built, experiment, examples, tokenizer)
    return evaluator.full(params) | dict(evaluator.signatures)


def evaluate(folder: str, experiment: Experiment, *, mesh: str = "", most: int = WHOLE) -> dict[str, float]:
    """Every score of the objective on the text of `experiment.data.source`, at most so many documents of each corpus."""
    built, params, tokenizer = built_from(folder, experiment, mesh)
    documents = held_out_from_source(experiment.text_data.source, tokenizer, most=most)
    return Evaluator(built, experiment, tokenizer, documents).full(params)


def built_from(folder: str, experiment: Experiment, mesh: str) -> tuple[Built, Params, Tokenizer]:
    """A published model on its devices, as an evaluator wants it; HubError if it has no tokenizer."""
    devices = make_mesh(MeshShape.parse(mesh))
    check_rows(experiment, devices)
    pretrained = load(folder, mesh=devices)
    if pretrained.tokenizer is None:
        raise HubError(f"{pretrained.folder} has no tokenizer to read text with; put its files there")
    parts, optimizer = split_model(pretrained.model), experiment.optimizer.build(1)
    built = Built(parts, optimizer, state_shapes(parts, optimizer, devices), devices)
    return built, parts.params, pretrained.tokenizer
