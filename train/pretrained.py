"""Models with their tokenizers, whoever trained them: folders as published, in and out, and run folders of ours.

from train.pretrained import load, save
bert = load("google-bert/bert-base-uncased")        # a folder, or the name of one on the Hugging Face hub
ids = bert.tokenizer.encode("A text.", special_tokens=True)
bert.outputs(input_ids=ids[None])["last_hidden_state"]
save(bert, "my/bert")                               # a folder that transformers opens
"""

import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh, NamedSharding

from data.cache import user_path
from data.errors import DataError
from data.tokenizers import Tokenizer, load_tokenizer
from data.tokenizers.exporting import export_tokenizer
from model.config import TransformerConfig, choice_name
from model.decoder import LanguageModel
from model.encoder_decoder import EncoderDecoder
from model.hub import new_folder
from model.positions import LearnedPositions
from model.published import Architecture, CannotExpress, Family, HubError
from model.publishing import architecture_of, express, write_model
from model.weights import open_published, read_model
from train.config import Experiment
from train.inspectable import Inspectable
from train.objectives import PrefixLM
from train.objectives.segments import Choose, Contrast
from train.objectives.tasks import FindAnswers, TagTokens
from train.objectives.with_head import TaskObjective
from train.outputs import outputs
from train.prompt_format import PromptFormat, trained_format
from train.registry import is_published, on_hub
from train.run import Run, RunError
from train.sharding import MeshShape, logical_axes, make_mesh, spec

VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
# Files of a published folder that belong to its model, whatever reads them: copied as they are.
BESIDE = (
    *VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
)
# What transformers calls the losses of those heads that have several.
PROBLEMS = {
    "classify": "single_label_classification",
    "classify_many": "multi_label_classification",
    "regress": "regression",
}


@dataclass(frozen=True)
class Pretrained(Inspectable):
    """A published model, opened.

    Attributes:
        model: LanguageModel, EncoderDecoder, MaskedLanguageModel, Encoder or VisionTransformer, with its weights.
        tokenizer: its vocabulary; None where the folder has none.
        architecture: what the model is: class, config, options.
        family: how it is published.
        fields: its config.json.
        folder: where it lies.
    """

    model: Any
    tokenizer: Tokenizer | None
    architecture: Architecture
    family: Family
    fields: dict[str, Any]
    folder: Path

    @property
    def config(self) -> TransformerConfig:
        """The shape of the model, in our words."""
        return self.architecture.config

    @property
    def name(self) -> str:
        """What to call it: the folder's name."""
        return self.folder.name

    def outputs(
        self,
        *,
        input_ids: np.ndarray | None = None,
        attention_mask: np.ndarray | None = None,
        token_type_ids: np.ndarray | None = None,
        decoder_input_ids: np.ndarray | None = None,
        decoder_attention_mask: np.ndarray | None = None,
        pixel_values: np.ndarray | None = None,
        hidden_states: bool = False,
    ) -> dict[str, Any]:
        """What the published model answers, by its published names; float32 NumPy arrays.

        `last_hidden_state` [B T D]; `logits` where it has a head ([B T V], or [B C] and [B T C] of classes), `start_logits` and
        `end_logits` [B T] of one for answers, `nsp_logits` [B 2],
        `pooler_output` [B D], `encoder_last_hidden_state` [B S D]; with `hidden_states` also lists of what enters the first
        layer and leaves each one, the last after the final norm where the published list has it so. Values at padded places
        mean nothing. Each shape is compiled once. ValueError for arrays that the model cannot take.
        """
        arrays = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "decoder_input_ids": decoder_input_ids,
            "decoder_attention_mask": decoder_attention_mask,
            "pixel_values": pixel_values,
        }
        given = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
        counts = self.family.positions_count_tokens
        return outputs(self.model, given, counts_tokens=counts, hidden_states=hidden_states)


def load(
    path: str | Path, *, mesh: Mesh | None = None, dtype: Any = "float32", ignore: Collection[str] = ()
) -> Pretrained:
    """Open a published folder, or one of the Hugging Face hub by its name, as "google-bert/bert-base-uncased".

    With a `mesh` each array goes to its devices as in training, otherwise all to the first. `dtype` is that of the weights,
    None as they are stored. `ignore` are patterns, * for anything, of tensors and config fields to be left aside.

    Raises:
        HubError: whatever is wrong with the folder, in one line with the remedy.
        DataError: its tokenizer cannot be read.
    """
    folder = find_folder(path)
    published = open_published(folder, ignore=ignore)

    def place(name: str, shape: tuple[int, ...]) -> NamedSharding:
        assert mesh is not None
        return NamedSharding(mesh, spec(logical_axes(name, len(shape)), shape, mesh))

    model = read_model(published, dtype=dtype, placing=None if mesh is None else place)
    return Pretrained(
        model=model,
        tokenizer=open_tokenizer(folder, published.architecture.config),
        architecture=published.architecture,
        family=published.family,
        fields=published.fields,
        folder=folder,
    )


def save(model: Any, path: str | Path, *, tokenizer: Tokenizer | None = None, family: str | None = None) -> Path:
    """Write a model as a published folder, config.json, safetensors and tokenizer files, which transformers opens too.

    Args:
        model: what `load`, `open_any` or `Run.open` gave, or one of the models of `model/` itself.
        path: a new folder, or an empty one; it appears when all is written.
        tokenizer: for a model that brings none.
        family: `model_type` to publish it as; None: what it was loaded as, or else the first family that can say it.

    Of a run that trained few parameters they are merged into the weights, and a run of a task names its labels.

    Raises:
        HubError: the family cannot express the model (every field of it that stands in the way is named), or `path` is taken.
        PeftError: what was trained cannot be folded into weights.
    """
    if isinstance(model, Run) and isinstance(model.experiment.objective, PrefixLM):
        raise CannotExpress(
            "no published family", f"objective={model.experiment.objective}: a prefix that is seen both ways"
        )
    pretrained = model.pretrained if isinstance(model, Opened) else model if isinstance(model, Pretrained) else None
    run = model if isinstance(model, Run) else model.run if isinstance(model, Opened) else None
    if isinstance(model, Opened | Pretrained | Run):
        tokenizer, model = tokenizer or model.tokenizer, model.model
    if run is not None and run.experiment.peft is not None:
        model = run.merged().model
    labels = {} if run is None else label_fields(run.experiment)
    known = None if pretrained is None else pretrained.family.model_type
    expressed = express(architecture_of(model), family or known)
    fields: dict[str, Any] = labels if pretrained is None else dict(pretrained.fields)
    same_vocabulary = pretrained is not None and tokenizer is pretrained.tokenizer
    asked = None
    if tokenizer is not None and not same_vocabulary:
        asked = prompt_format(model, tokenizer, run)
        fields |= token_ids(tokenizer, asked)
        if expressed.family.positions_count_tokens and fields["pad_token_id"] != expressed.fields["pad_token_id"]:
            raise CannotExpress(
                expressed.family.model_type,
                f"a padding token of id {fields['pad_token_id']} with positions.offset={expressed.fields['pad_token_id'] + 1}",
            )
    temporary = new_folder(path)
    try:
        write_model(temporary, model, expressed, carried=fields)
        if pretrained is not None and same_vocabulary:
            for name in BESIDE:
                if (pretrained.folder / name).is_file():
                    shutil.copyfile(pretrained.folder / name, temporary / name)
        elif tokenizer is not None:
            config = expressed.architecture.config
            check_vocabulary(tokenizer, config, "the tokenizer")
            places = config.positions
            export_tokenizer(
                tokenizer,
                temporary,
                max_length=places.max_length if isinstance(places, LearnedPositions) else None,
                token_types=config.num_token_types > 1,
                around=None if asked is None else asked.around,
            )
        return temporary.replace(user_path(path))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def label_fields(experiment: Experiment) -> dict[str, Any]:
    """The fields of config.json that name the labels of a task, and say how a loss would be taken.

    CannotExpress for a head that is read otherwise than the published one of the same shape.
    """
    objective = experiment.objective
    if not isinstance(objective, TaskObjective) or objective.outputs == 0:
        return {}
    word = choice_name(type(objective))
    if word not in PROBLEMS and not isinstance(objective, TagTokens | FindAnswers | Choose | Contrast):
        raise CannotExpress("no published family", f"objective={word}, whose head is read in another way")
    labels = getattr(experiment.task_data.task, "labels", None) or ()
    named = {"id2label": {str(number): name for number, name in enumerate(labels)}} if labels else {}
    numbered = {"label2id": {name: number for number, name in enumerate(labels)}} if labels else {}
    return named | numbered | ({"problem_type": PROBLEMS[word]} if word in PROBLEMS else {})


def prompt_format(model: Any, tokenizer: Tokenizer, run: Run | None) -> PromptFormat | None:
    """How a model that writes text was asked in training; None for others, and for a decoder of which no training is known."""
    two_sided = isinstance(model, EncoderDecoder)
    experiment = None if run is None else run.experiment
    if not (two_sided or (isinstance(model, LanguageModel) and experiment is not None)):
        return None
    objective, data = (None, None) if experiment is None else (experiment.objective, experiment.data)
    return trained_format(tokenizer, two_sided, objective, data)


def token_ids(tokenizer: Tokenizer, asked: PromptFormat | None = None) -> dict[str, int | None]:
    """The fields of config.json that name special tokens, as training here used them: what a text ends with, if anything, and
    what a decoder beside an encoder begins with.
    """
    special = tokenizer.special
    end = special.eos if special.eos is not None else special.sep
    ids = {
        "pad_token_id": special.pad,
        "bos_token_id": special.bos if special.bos is not None else special.cls,
        "eos_token_id": end if asked is None else asked.stops[0] if asked.stops else None,
    }
    if asked is None or asked.start is None:
        return ids
    # Nothing is forced behind a text that is as long as it may be: Marian's class would put its token 0 there.
    return ids | {"decoder_start_token_id": asked.start, "forced_eos_token_id": None}


def find_folder(path: str | Path) -> Path:
    """The folder of that name, or the one that the hub has under it, downloaded where `huggingface_hub` is installed."""
    folder = user_path(path)
    if not on_hub(path):
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise HubError(
            f"there is no folder {path}; to download it from the Hugging Face hub, pip install huggingface_hub"
        ) from None
    try:
        return Path(snapshot_download(str(path), allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]))
    except Exception as error:  # the library raises its own, requests' and OSError alike
        said = " ".join(str(error).split())[:200]
        raise HubError(
            f"there is no folder {path}, and the Hugging Face hub does not give it ({type(error).__name__}: {said}); "
            "check the name and the connection, or download the folder and name it"
        ) from error


def open_tokenizer(folder: Path, config: TransformerConfig) -> Tokenizer | None:
    """The tokenizer of a published folder, None where it has none; it must not have more tokens than the model."""
    if not any((folder / name).is_file() for name in VOCABULARIES):
        return None
    tokenizer = load_tokenizer(folder)
    check_vocabulary(tokenizer, config, f"the tokenizer of {folder}")
    return tokenizer


def longest(config: TransformerConfig, fields: dict[str, Any]) -> int:
    """Tokens that a published model reads at once, by its config.json where its positions have no end."""
    if isinstance(config.positions, LearnedPositions):
        return config.positions.max_length
    return fields.get("max_position_embeddings") or fields.get("n_positions") or sys.maxsize


def check_vocabulary(tokenizer: Tokenizer, config: TransformerConfig, named: str) -> None:
    """DataError if a tokenizer gives ids that the model does not know; a model may have more rows than that."""
    if tokenizer.vocab_size > config.vocab_size:
        raise DataError(
            f"{named} has {tokenizer.vocab_size} tokens, its model only {config.vocab_size}; "
            "put the tokenizer's files there that the model was trained with"
        )


@dataclass(frozen=True)
class Opened(Inspectable):
    """A model to work with, wherever it came from.

    Attributes:
        model: LanguageModel, EncoderDecoder, MaskedLanguageModel, Encoder or VisionTransformer, with its weights.
        tokenizer: its vocabulary; None where a published folder has none.
        config: its shape.
        name: what to call it: the folder's name.
        pretrained: the published folder that it was, None for a run.
        run: the run that it was, None for a published folder.
    """

    model: Any
    tokenizer: Tokenizer | None
    config: TransformerConfig
    name: str
    pretrained: Pretrained | None = None
    run: Run | None = None


def open_any(
    path: str | Path,
    *,
    step: int | None = None,
    mesh: str = "",
    base: str | Path | None = None,
    ignore: Collection[str] = (),
) -> Opened:
    """Open a run folder, at its newest checkpoint or at `step`, or a published folder, on the devices of this machine.

    `base` is for runs as `Run.open` takes it, `ignore` for published folders as `load` does.

    Raises:
        RunError: it is neither, or has no checkpoint yet.
        HubError: it is a published folder that cannot be read.
    """
    if is_published(path):
        if step is not None:
            raise RunError(f"{path} is a published model, which has no steps; leave --step out")
        if base is not None:
            raise RunError(f"{path} is a published model, which holds all of its weights; leave --base out")
        found = load(path, mesh=make_mesh(MeshShape.parse(mesh)) if mesh else None, ignore=ignore)
        return Opened(found.model, found.tokenizer, found.config, found.name, found)
    if ignore:
        raise RunError(f"{path} is a run folder, all of which is used; leave ignore out")
    run = Run.open(path, step=step, mesh=mesh, base=base)
    return Opened(run.model, run.tokenizer, run.experiment.model, Path(path).name, run=run)
