"""What few parameters a run trained, as a folder that `peft` opens on the model that it began from."""

from pathlib import Path

from model.config import choice_name
from model.decoder import LanguageModel
from model.encoder_decoder import EncoderDecoder
from model.peft import PeftError, detach, save_adapter
from model.publishing import architecture_of, express, params_of, tensors_of
from train.objectives.tasks import FindAnswers, TagTokens
from train.objectives.with_head import TaskObjective
from train.pretrained import label_fields
from train.registry import is_published
from train.run import Run
from train.state import TASK_HEADS


def save_run_adapter(run: Run, path: str | Path) -> Path:
    """Write the adapter of a run; heads that were trained beside it are kept under their published names.

    The folder names the published model that the run began from, if it did.

    Raises:
        PeftError: the run trained all parameters, or something that `peft` has no words for.
        HubError: its head has no published form, or `path` is taken.
    """
    choice = run.experiment.peft
    if choice is None:
        raise PeftError(f"{run.folder.path} trained all parameters and has no adapter; export it without --adapter")
    heads = {}
    if isinstance(run.experiment.objective, TaskObjective):
        label_fields(run.experiment)  # which refuses heads that are read otherwise
        plain = detach(run.model)
        heads = dict(tensors_of(params_of(plain), express(architecture_of(plain)), TASK_HEADS))
    return save_adapter(run.model, choice, path, base=published_base(run), task=task_word(run), heads=heads)


def published_base(run: Run) -> str | None:
    """The published folder, or the name on the hub, that a run began from; None where it began from a run or from nothing."""
    init = run.folder.begun().get("init")
    return str(init) if init is not None and is_published(init) else None


def task_word(run: Run) -> str | None:
    """What `peft` calls the class of the model."""
    objective = run.experiment.objective
    if isinstance(objective, TagTokens):
        return "TOKEN_CLS"
    if isinstance(objective, FindAnswers):
        return "QUESTION_ANS"
    if choice_name(type(objective)) in ("classify", "classify_many", "regress"):
        return "SEQ_CLS"
    if isinstance(run.model, LanguageModel):
        return "CAUSAL_LM"
    return "SEQ_2_SEQ_LM" if isinstance(run.model, EncoderDecoder) else None
