"""What an experiment says about a task: its kind, its source, the shape of its rows."""

from dataclasses import dataclass

from data.errors import DataError
from data.tasks.choices import Classification, MultiLabel, Regression, Tagging, Task
from data.tasks.sources import LibraryParts, TaskSource
from data.tokenizers.choices import TokenizerChoice

PACKABLE = (Classification, MultiLabel, Regression, Tagging)  # tasks of which several texts may share a row


@dataclass(frozen=True)
class TaskData:
    """Examples with labels, from their source to the shape of a batch. The default needs no download.

    Beside `data.config.TextData`: there documents are packed into rows, here an example is a row (or, with a long context,
    several), padded to the longest of its batch, or with `packed` one of several texts.
    """

    task: Task = Classification()
    source: TaskSource = LibraryParts()
    tokenizer: TokenizerChoice | None = None
    """None: that of the model which is fine-tuned."""
    row_length: int = 128
    """Tokens of the longest row; what is longer is cut, the longer text of a pair first, or read in windows."""
    batch_size: int = 32
    """Rows of a step on all devices together, B."""
    batch_tokens: int | None = None
    """Tokens of a step, padding included: short rows share larger batches, of a multiple of `batch_size` rows; None: all
    batches have `batch_size` rows."""
    packed: bool = False
    """Whether a row holds as many texts as it has room for, each seeing only itself: batches of `batch_size` full rows in a
    random order, for tasks whose labels are of a text or of its words."""
    stride: int = 64
    """Tokens that two windows of one context share."""
    bucket: int = 16
    """Rows of a batch are padded to the longest of them, rounded up to a multiple of this."""
    grouped: int = 50
    """Batches whose rows are put in order of length among each other, so that little of them is padding; 1: none are."""
    valid_fraction: float = 0.1
    """Share of the examples that is held out, by a hash of their text, where the source has no held-out part."""
    drop_repeated: bool = False
    """Whether training examples that open as a held-out one does are left out; they are counted and told in any case."""
    train_limit: int | None = None
    """Train on the first so many examples only."""
    valid_limit: int | None = None
    """Score the first so many held-out examples only."""

    def __post_init__(self):
        for name, least in (("row_length", 4), ("batch_size", 1), ("stride", 0), ("bucket", 1), ("grouped", 1)):
            if getattr(self, name) < least:
                raise DataError(f"{name}={getattr(self, name)} is too small; use {least} or more")
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise DataError(f"batch_tokens={self.batch_tokens} is too small; use 1 or more, such as 1024, or None")
        if self.packed and not isinstance(self.task, PACKABLE):
            kind = type(self.task).__name__
            raise DataError(f"packed=True is for labels of texts or words, and rows of {kind} hold more; leave it out")
        if self.packed and self.batch_tokens is not None:
            raise DataError(
                f"batch_tokens={self.batch_tokens} is for rows of one text each; leave it out with packed=True"
            )
        for name in ("train_limit", "valid_limit"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise DataError(f"{name}={limit} leaves no example; use 1 or more, or None")
        if not 0.0 < self.valid_fraction <= 0.5:
            raise DataError(
                f"valid_fraction={self.valid_fraction} is out of range; hold out more than 0 and at most 0.5"
            )
