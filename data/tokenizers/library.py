"""The door to `tokenizers`: what wraps any tokenizer.json. WordPiece and byte-level BPE, beside this file, make one."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.foreign import decode_json, explained, read_bytes, reason
from data.tokenizers.boundary import MOST_BYTES, MOST_UNUSED, open_library
from data.tokenizers.frames import Frame, Located, located, whole_characters
from data.tokenizers.interface import SpecialIds, Tokenizer, sentinel_ids
from data.tokenizers.settings import Settings
from data.tokenizers.words import ALONE, BEGINS, CLOSED, CONTINUES, LETTER, OPEN, WordTable, code_text

ROLES = {
    "pad": ("[PAD]", "<pad>", "<|padding|>", "<|pad|>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>", "<cls>"),
    "sep": ("[SEP]", "</s>", "<sep>"),
    "mask": ("[MASK]", "<mask>"),
    "bos": ("<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|endoftext|>"),
    "eos": ("</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>", "<|im_end|>"),
}
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_UNUSED = re.compile(r"\[unused\d+\]|<unused ?\d+>")


class LibraryTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library, from the text of its tokenizer.json.

    Padding and truncation stored in that file are switched off: they belong to whoever wrote it, not to the ids. The
    special tokens put around a text are those of its post-processor; a WordPiece file without one gets BERT's.

    Roles are those that `settings` names, where the folder of the file says so, and otherwise told by the usual names.
    """

    def __init__(self, content: str, named: str = "this", settings: Settings = Settings()):
        inner = open_library(content, named)
        inner.encode_special_tokens = True  # text that spells "[MASK]" is text
        self.inner, self._named = inner, named
        vocabulary = inner.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise DataError(f"{named} has an empty vocabulary; name a tokenizer.json that was trained")
        if (most := max(vocabulary.values())) > len(vocabulary) + MOST_UNUSED:
            raise DataError(f"{named} has a token of id {most:,} among {len(vocabulary):,} tokens; copy it again")
        self.pieces = [f"<unused {index}>" for index in range(most + 1)]
        for piece, index in vocabulary.items():
            self.pieces[index] = piece
        added = {i for i, token in inner.get_added_tokens_decoder().items() if token.special}
        self.settings = settings
        self.special = find_roles(vocabulary, settings.roles)
        self._marked = added | self.special.ids
        self._parts = json.loads(inner.to_str())
        if (self._parts.get("decoder") or {}).get("type") == "WordPiece":
            self.lag = 3  # it joins what punctuation sets apart: do n ' t becomes don't
        if self._parts["model"]["type"] == "WordPiece" and inner.post_processor is None:
            self._wrap_as_bert()
        self._wrap_as_told()

    def __reduce__(self):
        return LibraryTokenizer, (self.inner.to_str(), "this", self.settings)

    def _wrap_as_bert(self) -> None:
        from tokenizers.processors import TemplateProcessing

        if self.special.cls is not None and self.special.sep is not None:
            cls, sep = self.pieces[self.special.cls], self.pieces[self.special.sep]
            self.inner.post_processor = TemplateProcessing(
                single=f"{cls} $A {sep}",
                pair=f"{cls} $A {sep} $B:1 {sep}:1",
                special_tokens=[(cls, self.special.cls), (sep, self.special.sep)],
            )

    def _wrap_as_told(self) -> None:
        """As add_bos_token and add_eos_token say, where one of them is given: transformers puts them over the file's own."""
        from tokenizers.processors import TemplateProcessing

        told = [self.settings.options.get(f"add_{role}_token") for role in ("bos", "eos")]
        if told == [None, None] or self.special.cls is not None:
            return
        roles = zip(told, (self.special.bos, self.special.eos), strict=True)
        bos, eos = ([self.pieces[index]] if said and index is not None else [] for said, index in roles)
        one, two = ([f"{word}:{n}" for word in (*bos, f"${text}", *eos)] for n, text in enumerate("AB"))
        used = [(piece, self.pieces.index(piece)) for piece in dict.fromkeys(bos + eos)]
        self.inner.post_processor = TemplateProcessing(single=one, pair=[*one, *two], special_tokens=used)

    @property
    def normalisation(self) -> str:
        kept = {name: self._parts.get(name) for name in ("normalizer", "pre_tokenizer")}
        kept["model"] = {key: value for key, value in self._parts["model"].items() if key != "vocab"}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        with self._explained():
            encodings = self.inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._spelt_out(np.array(encoding.ids, np.int32))[0] for encoding in encodings]

    def encode(self, text: str, special_tokens: bool = False) -> np.ndarray:
        if not special_tokens:
            return self.encode_batch([text])[0]
        with self._explained():
            encoding = self.inner.encode(text, add_special_tokens=True)
        return self._spelt_out(np.array(encoding.ids, np.int32), encoding.special_tokens_mask)[0]

    def encode_marked(self, text: str, special_tokens: bool = False) -> np.ndarray:
        self.inner.encode_special_tokens = False
        try:
            with self._explained():
                return np.array(self.inner.encode(text, add_special_tokens=special_tokens).ids, np.int32)
        finally:
            self.inner.encode_special_tokens = True

    def encode_pair(self, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
        with self._explained():
            encoding = self.inner.encode(first, second, add_special_tokens=True)
        ids, origin = self._spelt_out(np.array(encoding.ids, np.int32), encoding.special_tokens_mask)
        return ids, np.array(encoding.type_ids, np.int32)[origin]

    def locate_batch(self, texts: Sequence[str]) -> list[Located]:
        with self._explained():
            encodings = self.inner.encode_batch(list(texts), add_special_tokens=False)
        found = []
        for text, encoding in zip(texts, encodings, strict=True):
            ids, origin = self._spelt_out(np.array(encoding.ids, np.int32))
            starts, stops = np.array(encoding.offsets, np.int32).reshape(-1, 2)[origin].T
            # A space that the tokenizer puts before a text has no characters; the library gives it those that follow.
            if self._composes:
                starts, stops = whole_characters(text, starts, stops)
            spans = zip(starts, stops, strict=True)
            blank = self._blank[ids] & np.array([not text[start:stop].isspace() for start, stop in spans], bool)
            found.append(located(text, ids, starts, np.where(blank, starts, stops)))
        return found

    def frame(self, texts: int) -> Frame:
        some = self._some
        with self._explained():
            encoding = self.inner.encode(some, some if texts == 2 else None, add_special_tokens=True)
        ids, types, of = encoding.ids, encoding.type_ids, encoding.sequence_ids
        cuts = [0]
        for number in range(texts):
            mine = [place for place, text in enumerate(of) if text == number]
            if not mine:
                raise DataError("the tokenizer leaves nothing of any text, so what it puts around texts is not known; "
                                "name another")  # fmt: skip
            cuts += [mine[0], mine[-1] + 1]
        cuts.append(len(ids))
        parts = [slice(start, stop) for start, stop in zip(cuts[::2], cuts[1::2], strict=True)]
        return Frame(
            tuple(np.array(ids[part], np.int32) for part in parts),
            tuple(np.array(types[part], np.int32) for part in parts),
            tuple(types[cut] for cut in cuts[1:-1:2]),
        )

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        with self._explained("cannot make a text of these ids"):
            return self.inner.decode([int(i) for i in ids], skip_special_tokens=False)

    def _explained(self, said: str = "cannot encode this text") -> AbstractContextManager[None]:
        """What a tokenizer that lacks a part, such as its unknown token, makes the library raise, or panic."""
        return explained(self._named, DataError, said=said, remedy="name another tokenizer")

    def save(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "tokenizer.json").write_text(self.inner.to_str(pretty=True), encoding="utf-8")
        self.settings.write(Path(folder))
        self.write_vocabulary(folder)

    def write_vocabulary(self, folder: str | Path) -> None:
        """Write the vocab.txt of a WordPiece, which others read; nothing of any other model."""
        if self._parts["model"]["type"] == "WordPiece":
            (Path(folder) / "vocab.txt").write_text("\n".join(self.pieces) + "\n", encoding="utf-8")

    @cached_property
    def words(self) -> WordTable:
        ids = range(self.vocab_size)
        return WordTable.of([self._codes(i) for i in ids], [self._surface(i) for i in ids])

    @cached_property
    def byte_counts(self) -> np.ndarray:
        sizes = (0 if self._is_special(i) else len(self._surface(i)) for i in range(self.vocab_size))
        return np.fromiter(sizes, np.int32, self.vocab_size)

    def _is_special(self, index: int) -> bool:
        piece = self.pieces[index]
        return index in self._marked or bool(_UNUSED.fullmatch(piece))

    def _codes(self, index: int) -> tuple[int, int]:
        if self._is_special(index):
            return ALONE, CLOSED
        first, last = code_text(self._surface(index))
        if prefix := self._continuing:
            return (CONTINUES if self.pieces[index].startswith(prefix) else BEGINS), OPEN
        if suffix := self._end_of_word:
            ends = self.pieces[index].endswith(suffix)
            return LETTER if first == BEGINS else first, CLOSED if ends or last == CLOSED else OPEN
        return first, last

    def _spelt_out(self, ids: np.ndarray, added: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Ids in which special tokens are those that were `added` around the text, and the place that each comes from.

        A unigram model finds the pieces of special tokens in the text itself; there they are spelt letter by letter.
        """
        places = np.arange(len(ids))
        if self._parts["model"]["type"] != "Unigram":
            return ids, places
        found = np.isin(ids, self._reserved)
        found[: len(added)] &= np.array(added) == 0
        if not found.any():
            return ids, places
        unknown = self.special.unk
        spelt: list[tuple[int, int]] = []
        for place, index in enumerate(ids.tolist()):
            for piece in self.pieces[index] if found[place] else [self.pieces[index]]:
                number = self.inner.token_to_id(piece)
                number = unknown if number is None else number
                if number is not None and not (
                    found[place] and number == unknown and spelt and spelt[-1][0] == unknown
                ):
                    spelt.append((number, place))
        changed, origin = np.array(spelt, np.int32).reshape(-1, 2).T
        return changed, origin

    @cached_property
    def _some(self) -> str:
        """A text of which tokens are left: the letter a, else the first of the pieces that is such a text."""

        def leaves(text: str) -> bool:
            try:
                return len(self.encode(text)) > 0
            except DataError:
                return False

        spelt = (self._surface(index).decode("utf-8", "ignore") for index in self.ordinary[:1_000])
        return next((text for text in ("a", *spelt) if leaves(text)), "a")

    @cached_property
    def _composes(self) -> bool:
        return '"Precompiled"' in json.dumps(self._parts.get("normalizer"))

    @cached_property
    def _blank(self) -> np.ndarray:
        return np.array([not self._is_special(i) and self._surface(i).isspace() for i in range(self.vocab_size)])

    @cached_property
    def _reserved(self) -> np.ndarray:
        return np.array(sorted(self._marked - {self.special.unk}), np.int32)

    @cached_property
    def _continuing(self) -> str | None:
        return self._parts["model"].get("continuing_subword_prefix") or None

    @cached_property
    def _end_of_word(self) -> str | None:
        return self._parts["model"].get("end_of_word_suffix") or None

    @cached_property
    def _byte_level(self) -> dict[str, int] | None:
        parts = json.dumps([self._parts.get("pre_tokenizer"), self._parts.get("decoder")])
        return gpt2_bytes() if '"ByteLevel"' in parts else None

    def _surface(self, index: int) -> bytes:
        """The bytes of text that an id stands for, as far as the vocabulary tells."""
        piece = self.pieces[index]
        if self._byte_level is not None and all(character in self._byte_level for character in piece):
            return bytes(self._byte_level[character] for character in piece)
        if found := BYTE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        if self._continuing and piece.startswith(self._continuing):
            piece = piece[len(self._continuing) :]
        if self._end_of_word and piece.endswith(self._end_of_word):
            piece = piece[: -len(self._end_of_word)]
        return piece.replace("\u2581", " ").encode("utf-8", "replace")


def find_roles(vocabulary: Mapping[str, int], roles: Mapping[str, str | None]) -> SpecialIds:
    """Which ids have a role: as `roles` says, and by the usual names where it says nothing.

    Where it says anything, <s> and </s> are [CLS] and [SEP] only if it says that too: Llama and T5 have neither.
    """
    usual = ROLES | {"cls": ("[CLS]",), "sep": ("[SEP]",)} if roles else ROLES
    found = {role: next((vocabulary[n] for n in names if n in vocabulary), None) for role, names in usual.items()}
    for role, name in roles.items():
        found[role] = None if name is None else vocabulary.get(name)
    if found["unk"] == found["eos"]:
        found["unk"] = None  # GPT-2 names <|endoftext|> for it, but of bytes nothing is unknown
    return SpecialIds(**found, sentinels=sentinel_ids(vocabulary))


def read_tokenizer_json(path: Path, settings: Settings = Settings()) -> LibraryTokenizer:
    """A tokenizer.json, published or saved."""
    content = read_utf8(path)
    try:
        decode_json(content)  # the library takes any number for an id, and may end the process
    except ValueError as error:
        raise DataError(f"{path} is not a tokenizer.json: it is not JSON ({error}); copy it again") from error
    return LibraryTokenizer(content, str(path), settings)


def read_utf8(path: Path) -> str:
    try:
        return read_bytes(path, MOST_BYTES).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 at byte {error.start}; name a vocab.txt or a tokenizer.json") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); copy it again") from error


def gpt2_bytes() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes (Radford et al. 2019), from character to byte, in their order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [value for value in range(256) if value not in printable]
    table = {chr(value): value for value in printable}
    table.update({chr(256 + number): value for number, value in enumerate(others)})
    return table
