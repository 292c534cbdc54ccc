"""Models with their tokenizers, whoever trained them: a run folder of ours, or a folder as published."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flax import nnx

from data.tokenizers import Tokenizer
from model.config import TransformerConfig
from train.run import Run, RunError


@dataclass(frozen=True)
class Opened:
    """A model to work with, wherever it came from.

    Attributes:
        model: LanguageModel, EncoderDecoder, MaskedLanguageModel, Encoder or VisionTransformer, with its weights.
        tokenizer: its vocabulary; None where a published folder has none.
        config: its shape.
        name: what to call it: the folder's name.
    """

    model: Any
    tokenizer: Tokenizer | None
    config: TransformerConfig
    name: str


def open_any(path: str | Path, *, step: int | None = None, mesh: str = "") -> Opened:
    """Open a run folder, at its newest checkpoint or at `step`, or a published folder, on the devices of this machine.

    Raises:
        RunError: it is neither, or has no checkpoint yet.
        HubError: it is a published folder that cannot be read.
    """
    folder = Path(path)
    if not is_published(folder):
        run = Run.open(folder, step=step, mesh=mesh)
        model: nnx.Module = run.model
        return Opened(model, run.tokenizer, run.experiment.model, folder.name)
    raise RunError(f"{folder} is a published folder, which cannot be opened yet; give the folder of a run")


def is_published(folder: Path) -> bool:
    """Whether a folder's config.json is that of a published model: it says its `model_type`."""
    try:
        return "model_type" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
