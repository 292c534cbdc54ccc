"""What an experiment says about its text: the source, the tokenizer, the shape of a row."""

from dataclasses import dataclass
from typing import Literal

from data.errors import DataError
from data.sources import PythonDocs, Source
from data.tokenizers.choices import TokenizerChoice, WordPiece


@dataclass(frozen=True)
class TextData:
    """Text, from its source to the shape of a batch, in the order of the flow.

    Held-out documents are chosen by a hash of their text, so neither order nor seed changes them. `valid_split="tail"`
    takes the end of every document instead: of n characters the first int(n (1 - valid_fraction)) are trained on and
    the others held out, as nanoGPT splits a single text.
    """

    source: Source = PythonDocs()
    tokenizer: TokenizerChoice = WordPiece(8_192)
    row_length: int = 128  # tokens of a row, T
    batch_size: int = 32  # rows of a step on all devices together, B
    valid_split: Literal["documents", "tail"] = "documents"  # whole documents held out, or the end of each
    valid_fraction: float = 0.05  # of the documents, or of the characters of each, held out
    valid_documents: int = 1_000  # and at most so many of them; not for tails
    window: int = 4_096  # documents whose rows are planned together, and shuffled among each other

    def __post_init__(self):
        for name, least in (("row_length", 2), ("batch_size", 1), ("valid_documents", 1), ("window", 2)):
            if getattr(self, name) < least:
                raise DataError(f"{name}={getattr(self, name)} is too small; use {least} or more")
        if self.valid_split not in ("documents", "tail"):
            raise DataError(f"valid_split={self.valid_split} is neither documents nor tail")
        if not 0.0 < self.valid_fraction <= 0.5:
            raise DataError(
                f"valid_fraction={self.valid_fraction} is out of range; hold out more than 0 and at most 0.5"
            )
