"""Experiments that fine-tune, from a task: the objective that fits it, and the settings that are usual."""

from typing import Any

from data.tasks.choices import Generation
from data.tasks.config import TaskData
from model.config import TransformerConfig, choice_name
from model.families import bert
from train.config import Experiment
from train.objectives import NextToken, SequenceToSequence
from train.objectives.segments import Choose, Contrast
from train.objectives.tasks import Classify, ClassifyMany, FindAnswers, Regress, TagTokens
from train.optimizers import AdamW
from train.schedules import WarmupLinear

USUAL: dict[str, Any] = {
    "classification": Classify(),
    "multi_label": ClassifyMany(),
    "regression": Regress(),
    "tagging": TagTokens(),
    "answers": FindAnswers(),
    "multiple_choice": Choose(),
    "similarity": Contrast(),
    "generation": SequenceToSequence(),
}


def fine_tuning(
    data: TaskData,
    *,
    epochs: float = 3.0,
    peak: float = 5e-5,
    objective: Any = None,
    model: TransformerConfig | None = None,
    **fields: Any,
) -> Experiment:
    """An experiment on a task as Devlin et al. (arXiv:1810.04805, appendix A.3) fine-tune: a few epochs of AdamW, its rate
    rising over a tenth of the run and falling to zero.

    The model is that of --init; `model` is what is trained without one. Other fields of the experiment go by their names.
    """
    usual = {
        "optimizer": AdamW(schedule=WarmupLinear(peak=peak, warmup_fraction=0.1), epsilon=1e-8),
        "epochs": epochs,
        "steps": 1_000,  # where neither epochs nor --steps says otherwise
        "evaluate_every": 500,
        "evaluate_rows": 1_000,
        "checkpoint_every": 500,
    }
    if objective is None:
        one_side = isinstance(data.task, Generation) and data.task.sides == "one"
        objective = NextToken() if one_side else USUAL[choice_name(type(data.task))]
    model = bert.config("tiny", vocab_size=8_192) if model is None else model
    return Experiment(data=data, model=model, objective=objective, **(usual | fields))
