"""The door to `sentencepiece`: sub-words over raw text, trained on the source or published."""

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.tokenizers.choices import SentencePiece
from data.tokenizers.interface import SpecialIds, Tokenizer
from data.tokenizers.words import ALONE, CLOSED, WordTable, code_text

LONGEST_LINE = 4_000  # bytes; the trainer leaves out lines past 4,192 without a word
FILE = "tokenizer.model"


class SentencePieceTokenizer(Tokenizer):
    """A `sentencepiece` model.

    Published models may lack [CLS], [SEP] and [MASK]; ours have them as control symbols, which encoding never
    produces. The fingerprint is that of the pieces: the bytes of two equal models differ, because the file embeds how
    it was trained.
    """

    def __init__(self, model: bytes):
        import sentencepiece

        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise DataError("this is not a sentencepiece model; name a published .model file") from error
        self.model = model
        processor = self.processor
        self.pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]

        def named(*names: str) -> int | None:
            return next((processor.piece_to_id(n) for n in names if n in known), None)

        known = set(self.pieces)
        role = {name: getattr(processor, f"{name}_id")() for name in ("pad", "unk", "bos", "eos")}
        self.special = SpecialIds(
            **{name: index if index >= 0 else None for name, index in role.items()},
            cls=named("[CLS]"),
            sep=named("[SEP]"),
            mask=named("[MASK]", "<mask>"),
        )

    def __reduce__(self):
        return SentencePieceTokenizer, (self.model,)

    @property
    def normalisation(self) -> str:
        kinds = "".join(str(int(self._is_special(i)) + 2 * self.processor.is_byte(i)) for i in range(len(self.pieces)))
        return f"sentencepiece {hashlib.sha256(kinds.encode()).hexdigest()[:8]}"

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(ids, np.int32) for ids in self.processor.encode(list(texts), out_type=int)]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        # Control symbols decode to nothing, so runs of text between them are decoded one by one.
        parts, run = [], []
        for index in [int(i) for i in ids]:
            if self._is_special(index):
                parts += [self.processor.decode(run), self.pieces[index]]
                run = []
            else:
                run.append(index)
        return " ".join(part for part in [*parts, self.processor.decode(run)] if part)

    @cached_property
    def words(self) -> WordTable:
        ids = range(self.vocab_size)
        codes = [(ALONE, CLOSED) if self._is_special(i) else code_text(self._surface(i)) for i in ids]
        return WordTable.of(codes, [self._surface(i) for i in ids])

    @cached_property
    def byte_counts(self) -> np.ndarray:
        sizes = (0 if self._is_special(i) else len(self._surface(i)) for i in range(len(self.pieces)))
        return np.fromiter(sizes, np.int32, len(self.pieces))

    def save(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / FILE).write_bytes(self.model)

    @staticmethod
    def load(path: str | Path) -> "SentencePieceTokenizer":
        return SentencePieceTokenizer(Path(path).read_bytes())

    def _is_special(self, index: int) -> bool:
        processor = self.processor
        return processor.is_control(index) or processor.is_unknown(index) or processor.is_unused(index)

    def _surface(self, index: int) -> bytes:
        piece = self.pieces[index]
        if self.processor.is_byte(index):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\u2581", " ").encode("utf-8")


def train_sentencepiece(choice: SentencePiece, texts: Iterable[str]) -> SentencePieceTokenizer:
    """Train on all of `texts`; they are held in memory, so huge corpora come as a sample."""
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts),
            model_writer=model,
            model_type=choice.kind,
            vocab_size=choice.vocab_size,
            character_coverage=0.9995,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            control_symbols=["[CLS]", "[SEP]", "[MASK]"],
            num_threads=1,  # the order of float sums stays the same from run to run
            minloglevel=2,
        )
    except RuntimeError as error:
        raise DataError(_remedy(choice, str(error))) from error
    return SentencePieceTokenizer(model.getvalue())


def _lines(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        for line in text.splitlines():
            for start in range(0, len(line), LONGEST_LINE // 4):  # a character is at most 4 bytes
                if piece := line[start : start + LONGEST_LINE // 4].strip():
                    yield piece


def _remedy(choice: SentencePiece, message: str) -> str:
    # "Vocabulary size too high (8192). Please set it to a value <= 310."
    if limit := re.search(r"<= (\d+)", message):
        return (f"vocab_size={choice.vocab_size} is more than this text supports: {choice.kind} finds at most {limit[1]} "
                f"pieces; use --data.tokenizer.vocab_size {limit[1]}, or a larger source")  # fmt: skip
    # "Vocabulary size is smaller than required_chars. 16 vs 41. Increase vocab_size or ..."
    if need := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (f"vocab_size={choice.vocab_size} is too small for this text, whose letters and special tokens alone are "
                f"{need[1]}; use --data.tokenizer.vocab_size {4 * int(need[1])} or more")  # fmt: skip
    return f"sentencepiece could not be trained on this source: {message}"
