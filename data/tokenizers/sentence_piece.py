"""The door to `sentencepiece`: sub-words over raw text, trained on the source or published.

A published model is often not the whole vocabulary: its library puts ids before or after those of the file. Which, is
told by the file's name and by the tokenizer_config.json beside it, and both are kept as they were:

    tokenizer.model           the ids of the file; Llama 2 and Mistral open a text with <s>. Ours have this name too
    spiece.model              T5: 100 sentinels after them, <extra_id_0> last; a text ends with </s>
    sentencepiece.bpe.model   XLM-R: <s> <pad> </s> <unk> first, the pieces one place on, <mask> last; <s> text </s>
"""

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.errors import DataError
from data.foreign import explained, read_bytes, reason
from data.tokenizers.boundary import MOST_BYTES, MOST_UNUSED, TRIED, check_model, quiet
from data.tokenizers.choices import SentencePiece
from data.tokenizers.frames import Located, located
from data.tokenizers.interface import BERT, ROBERTA, SpecialIds, Template, Tokenizer, sentinel_ids
from data.tokenizers.library import BYTE
from data.tokenizers.settings import Settings
from data.tokenizers.words import ALONE, CLOSED, WordTable, code_text

LONGEST_LINE = 4_000  # bytes; the trainer leaves out lines past 4,192 without a word
FILE = "tokenizer.model"
T5_FILE = "spiece.model"
XLM_R_FILE = "sentencepiece.bpe.model"
XLM_R_FRONT = ("<s>", "<pad>", "</s>", "<unk>")


class _Surroundings(NamedTuple):
    """The ids that a published tokenizer puts around those of its model."""

    front: tuple[str, ...] = ()
    skip: int = 0  # the first ids of the model, which `front` takes the place of
    back: tuple[str, ...] = ()


class SentencePieceTokenizer(Tokenizer):
    """A `sentencepiece` model, under the name of its file and with the settings of its tokenizer_config.json.

    Published models may lack [CLS], [SEP] and [MASK]; ours have them as control symbols, which encoding never
    produces. Around a text go [CLS] and [SEP] where the model has them and no sentinels, and otherwise what its family
    puts there. The fingerprint is that of the pieces: the bytes of two equal models differ, because the file embeds how
    it was trained.
    """

    def __init__(self, model: bytes, file: str = FILE, settings: Settings = Settings(), named: str = "this"):
        import sentencepiece

        check_model(model, named)
        remedy = "name a published .model file, or the tokenizer.json beside it"
        with explained(named, DataError, said="is not a sentencepiece model", remedy=remedy), quiet():
            self.processor = processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            own = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
            if not own or len(set(own)) < len(own):
                raise ValueError("it has no pieces, or one of them twice")
            for text in TRIED:
                processor.encode(text)
        self.model, self.file, self.settings, self._named = model, file, settings, named
        around = _surroundings(own, file, settings, named)
        self._front, self._skip, self._own = len(around.front), around.skip, len(own) - around.skip
        self.pieces = [*around.front, *own[around.skip :], *around.back]
        self._add_tokens()
        vocabulary = {piece: index for index, piece in reversed(list(enumerate(self.pieces)))}

        def named_as(*names: str) -> int | None:
            return next((vocabulary[n] for n in names if n in vocabulary), None)

        if around.front:
            role = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>"}
            found = {name: vocabulary[piece] for name, piece in role.items()}
        else:
            ids = {name: getattr(processor, f"{name}_id")() for name in ("pad", "unk", "bos", "eos")}
            found = {name: index if index >= 0 else None for name, index in ids.items()}
            found |= {"cls": named_as("[CLS]"), "sep": named_as("[SEP]")}
        found |= {"mask": named_as("[MASK]", "<mask>")}
        for name, piece in settings.roles.items():
            found[name] = None if piece is None else vocabulary.get(piece, found[name])
        self.special = SpecialIds(**found, sentinels=sentinel_ids(vocabulary))
        self.template = self._template(bool(around.front))

    def __reduce__(self):
        return SentencePieceTokenizer, (self.model, self.file, self.settings)

    @property
    def normalisation(self) -> str:
        kinds = "".join(str(int(self._is_special(i)) + 2 * self._is_byte(i)) for i in range(len(self.pieces)))
        return f"sentencepiece {hashlib.sha256(kinds.encode()).hexdigest()[:8]}"

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self._ours(np.array(ids, np.int32)) for ids in self.processor.encode(list(texts), out_type=int)]

    def locate_batch(self, texts: Sequence[str]) -> list[Located]:
        found = []
        for text in texts:
            pieces = self.processor.encode(text, out_type=str)
            ids = self._ours(np.array(self.processor.encode(text, out_type=int), np.int32))
            # Pieces follow each other in the normalised text; its characters are told from those that they came from.
            normalised, origin = self.processor.normalize(text, with_offsets=True)
            bounds = self._bounds(pieces, normalised)
            begins = np.array(origin, np.int64)
            ends = begins[np.searchsorted(begins[:-1], begins[:-1], side="right")]  # several may come from one
            starts, stops = begins[bounds[:, 0]], ends[bounds[:, 1] - 1] if len(bounds) else np.zeros(0, np.int64)
            spans = list(zip(pieces, starts, stops, strict=True))
            # A space that the model opens a text with has no characters.
            added = [not piece.strip("\u2581") and not text[start:stop].isspace() for piece, start, stop in spans]
            found.append(located(text, ids, starts, np.where(np.array(added, bool), starts, stops)))
        return found

    def _bounds(self, pieces: Sequence[str], normalised: str) -> np.ndarray:
        """Where each piece begins and stops in the normalised text, int[n, 2]; bytes of one character all have it."""
        bounds, at, missing = [], 0, 0
        for piece in pieces:
            if self.processor.is_byte(self.processor.piece_to_id(piece)):
                missing = (missing or len(normalised[at].encode())) - 1
                bounds.append((at, at + 1))
                at += not missing
            else:
                bounds.append((at, at + len(piece)))
                at += len(piece)
        return np.array(bounds, np.int64).reshape(-1, 2)

    def _ours(self, ids: np.ndarray) -> np.ndarray:
        """Ids of ours for those of the model."""
        if self._skip == self._front == 0:
            return ids
        # Of the model's first ids encoding gives the unknown token only.
        (unknown,) = self.special.need("unk", purpose="text of any kind")
        return np.where(ids < self._skip, np.int32(unknown), ids + self._front - self._skip)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        # Control symbols decode to nothing, so runs of text between them are decoded one by one.
        parts, run = [], []
        for index in [int(i) for i in ids]:
            if self._is_special(index):
                parts += [self.processor.decode(run), self.pieces[index]]
                run = []
            else:
                run.append(index - self._front + self._skip)
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
        (Path(folder) / self.file).write_bytes(self.model)
        self.settings.write(Path(folder))

    def _after_special(self, text: str) -> str:
        return text.removeprefix(" ")  # the model opens every text with a space of its own

    def _add_tokens(self) -> None:
        """Tokens that the configuration adds behind the others, such as the <pad> of a fine-tuned Llama."""
        for index, piece in sorted(self.settings.added.items()):
            if index > len(self.pieces) + MOST_UNUSED:
                raise DataError(f"{self._named} has {len(self.pieces):,} pieces, and the JSON files beside it add one of id "
                                f"{index:,}; copy them again")  # fmt: skip
            if index >= len(self.pieces):
                self.pieces += [f"<unused {number}>" for number in range(len(self.pieces), index)]
                self.pieces.append(piece)

    def _template(self, fairseq: bool) -> Template:
        special = self.special
        if fairseq:
            return ROBERTA
        if special.sentinels and special.eos is not None:
            return Template("A eos", "A eos B eos")  # T5, arXiv:1910.10683
        if special.cls is not None and special.sep is not None:
            return BERT
        options = self.settings.options
        opening = "bos " if options.get("add_bos_token", True) and special.bos is not None else ""
        closing = " eos" if options.get("add_eos_token", False) and special.eos is not None else ""
        return Template(f"{opening}A{closing}", f"{opening}A{closing} {opening}B:1{closing and ' eos:1'}")

    def _model_id(self, index: int) -> int | None:
        """The id that the model itself has for one of ours, None where it has none."""
        inside = self._front <= index < self._front + self._own
        return index - self._front + self._skip if inside else None

    def _is_special(self, index: int) -> bool:
        own, processor = self._model_id(index), self.processor
        return own is None or processor.is_control(own) or processor.is_unknown(own) or processor.is_unused(own)

    @property
    def controls(self) -> frozenset[int]:
        """Ids of the model's control symbols, which no text gives."""
        inside = range(self._front, self._front + self._own)
        return frozenset(i for i in inside if self.processor.is_control(i - self._front + self._skip))

    def _is_byte(self, index: int) -> bool:
        own = self._model_id(index)
        return own is not None and self.processor.is_byte(own)

    def _surface(self, index: int) -> bytes:
        piece = self.pieces[index]
        if self._is_byte(index):
            return bytes([int(found[1], 16)]) if (found := BYTE.fullmatch(piece)) else piece.encode()
        return piece.replace("\u2581", " ").encode("utf-8")


def read_model(path: Path, settings: Settings = Settings(), *, sentinels: int = 0) -> SentencePieceTokenizer:
    """A .model file as it is, but for `sentinels` that are added after its ids unless it has some."""
    tokenizer = SentencePieceTokenizer(model_bytes(path), FILE, settings, named=str(path))
    if not sentinels or tokenizer.special.sentinels:
        return tokenizer
    return SentencePieceTokenizer(tokenizer.model, FILE, replace(settings, options={"extra_ids": sentinels}))


def model_bytes(path: Path) -> bytes:
    """A .model file as it is."""
    try:
        return read_bytes(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); copy it again") from error


def train_sentencepiece(choice: SentencePiece, texts: Iterable[str]) -> SentencePieceTokenizer:
    """Train on all of `texts`; they are held in memory, so huge corpora come as a sample."""
    import sentencepiece

    lines, model = _lines(texts), io.BytesIO()
    if (first := next(lines, None)) is None:
        raise DataError("there is no text to train a vocabulary on; name a source that holds some")
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=chain([first], lines),
            model_writer=model,
            model_type=choice.kind,
            vocab_size=choice.vocab_size - choice.sentinels,
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
    sentinels = {"extra_ids": choice.sentinels} if choice.sentinels else {}
    return SentencePieceTokenizer(model.getvalue(), settings=Settings(options=sentinels))


def _surroundings(own: Sequence[str], file: str, settings: Settings, named: str) -> _Surroundings:
    kind = settings.kind
    if file == XLM_R_FILE or kind.startswith("XLMRoberta"):
        if kind and not kind.startswith(("XLMRoberta", "PreTrained", "TokenizersBackend")):
            raise DataError(f"{kind} numbers the pieces of {named} in a way of its own; open a folder with its "
                            "tokenizer.json, which transformers writes with save_pretrained")  # fmt: skip
        return _Surroundings(XLM_R_FRONT, 3, ("<mask>",))
    t5 = (file == T5_FILE and not kind and "[CLS]" not in own) or kind.startswith(("T5", "MT5"))
    count = int(settings.options.get("extra_ids", 100 if t5 and "<extra_id_0>" not in own else 0))
    return _Surroundings(back=tuple(f"<extra_id_{number}>" for number in reversed(range(count))))


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.splitlines():
            for start in range(0, len(line), LONGEST_LINE // 4):  # a character is at most 4 bytes
                if piece := line[start : start + LONGEST_LINE // 4].strip():
                    yield piece


def _remedy(choice: SentencePiece, message: str) -> str:
    more = choice.sentinels
    # "Vocabulary size too high (8192). Please set it to a value <= 310."
    if limit := re.search(r"<= (\d+)", message):
        most = int(limit[1]) + more
        return (f"vocab_size={choice.vocab_size} is more than this text supports: {choice.kind} finds at most {most} "
                f"pieces; use --data.tokenizer.vocab_size {most}, or a larger source")  # fmt: skip
    # "Vocabulary size is smaller than required_chars. 16 vs 41. Increase vocab_size or ..."
    if need := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (f"vocab_size={choice.vocab_size} is too small for this text, whose letters and special tokens alone are "
                f"{int(need[1]) + more}; use --data.tokenizer.vocab_size {4 * int(need[1]) + more} or more")  # fmt: skip
    return f"sentencepiece could not be trained on this source: {message}"
