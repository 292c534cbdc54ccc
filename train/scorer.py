"""What the loop and the session ask of an evaluator."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from data.batch import Batch
from train.state import Params


class Scorer(Protocol):
    """What scores parameters on what was held out: an `Evaluator` of text, or a `TaskEvaluator`."""

    samples_file: str
    """What a run folder keeps of `samples`."""
    signatures: Mapping[str, str]
    """How the scores of `full` are counted, where their names do not say it: NAME_signature, as scores.json has it."""

    def quick(self, params: Params) -> dict[str, float]:
        """Scores on the first rows only: a look during training that costs little."""
        ...

    def full(self, params: Params) -> dict[str, float]:
        """Every score on everything that was held out."""
        ...

    def samples(self, params: Params) -> Any:
        """Some answers of the model, for a reader."""
        ...

    def batches(self, mode: Any, limit_rows: int | None = None) -> Iterator[Batch]:
        """The held-out rows as host batches."""
        ...
