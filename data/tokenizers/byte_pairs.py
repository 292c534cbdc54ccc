"""Byte-level BPE as published for GPT-2 and RoBERTa: trained on the source, or read from vocab.json and merges.txt."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from data.errors import DataError
from data.foreign import explained, read_json
from data.tokenizers.boundary import MOST_BYTES, MOST_UNUSED
from data.tokenizers.choices import ByteBPE
from data.tokenizers.library import LibraryTokenizer, gpt2_bytes, read_tokenizer_json, read_utf8
from data.tokenizers.long_words import GPT2, cut_long_words
from data.tokenizers.settings import Settings

Specials = Literal["gpt2", "roberta"]

# The special tokens before the 256 bytes, and after the merged pieces, in the order of the published vocabularies.
FRONT: dict[str, tuple[str, ...]] = {"gpt2": (), "roberta": ("<s>", "<pad>", "</s>", "<unk>")}
BACK: dict[str, tuple[str, ...]] = {"gpt2": ("<|endoftext|>",), "roberta": ("<mask>",)}


def train_byte_pairs(choice: ByteBPE, texts: Iterable[str]) -> LibraryTokenizer:
    """Merge the commonest pair of neighbours within GPT-2's words again and again; equal counts go by the smaller ids.

    Ids as published: the bytes in the order of their stand-ins, the pieces in the order in which they were merged. Where
    the text supports fewer pieces than asked for, the rest are [unused0], [unused1], ..., as in BERT's own files.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    front, back = FRONT[choice.specials], BACK[choice.specials]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=choice.vocab_size - len(front) - len(back), initial_alphabet=list(gpt2_bytes()), show_progress=False
    )
    tokenizer.train_from_iterator(cut_long_words(_some(texts), GPT2), trainer=trainer)
    merges = [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
    pieces = [*front, *gpt2_bytes(), *dict.fromkeys(left + right for left, right in merges)]
    unused = [f"[unused{number}]" for number in range(choice.vocab_size - len(back) - len(pieces))]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *unused, *back])}
    return byte_pairs(vocabulary, merges, choice.specials)


def read_byte_pairs(path: Path, specials: Specials) -> LibraryTokenizer:
    """A tokenizer.json, or a vocab.json with the merges.txt beside it."""
    if not path.name.endswith("vocab.json"):
        return read_tokenizer_json(path)
    vocabulary, merges = read_vocabulary_and_merges(path)
    return byte_pairs(vocabulary, merges, specials, named=str(path))


def byte_pairs(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    specials: Specials,
    *,
    settings: Settings = Settings(),
    named: str = "this",
) -> LibraryTokenizer:
    """The tokenizer of a vocabulary and the pairs that are merged, in their order."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    space = bool(settings.options.get("add_prefix_space", False))
    names = [*FRONT[specials], *BACK[specials]]
    if specials == "gpt2" and settings.roles.get("eos"):
        names = []  # another model of GPT-2's kind has tokens of its own
    if missing := [name for name in names if name not in vocabulary]:
        other = "; try specials gpt2" if specials == "roberta" else ""
        raise DataError(f"{named} lacks {', '.join(missing)}, which the special tokens of {specials} are{other}")
    said = "and its merges do not belong together"  # a merge of pieces that are not there
    with explained(named, DataError, said=said, remedy="take both from one folder"):
        tokenizer = Tokenizer(models.BPE(dict(vocabulary), list(merges), fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = decoders.ByteLevel()
    if specials == "roberta":
        tokenizer.post_processor = processors.RobertaProcessing(
            ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]), trim_offsets=True, add_prefix_space=space
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    names += [p for p in (*settings.roles.values(), *settings.added.values()) if p in vocabulary]
    # RoBERTa's mask takes the space before it along.
    added = [AddedToken(name, special=True, normalized=False, lstrip=name == "<mask>") for name in dict.fromkeys(names)]
    tokenizer.add_special_tokens(added)
    return LibraryTokenizer(tokenizer.to_str(), named, settings)


def read_vocabulary_and_merges(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The two files of a byte-level BPE; merges.txt has the name of vocab.json but for that word."""
    beside = path.with_name(path.name.replace("vocab.json", "merges.txt"))
    vocabulary = read_json(path, DataError, remedy="copy the file again", most=MOST_BYTES)
    numbers = list(vocabulary.values())
    if not numbers or not all(type(number) is int and 0 <= number < len(numbers) + MOST_UNUSED for number in numbers):
        raise DataError(f"{path} is not a vocabulary, one object from each piece to its number; copy the file again")
    if not beside.is_file():
        raise DataError(f"{path} has no {beside.name} beside it, which says what is merged; copy that file too")
    merges = []
    for number, line in enumerate(read_utf8(beside).split("\n"), start=1):
        pair = line.rstrip("\r").split(" ")
        if (number == 1 and line.startswith("#version")) or not line.strip():
            continue
        if len(pair) != 2:
            raise DataError(f"{beside} line {number} is not two pieces with a space between; copy the file again")
        merges.append((pair[0], pair[1]))
    return vocabulary, merges


def _some(texts: Iterable[str]) -> Iterable[str]:
    """The texts, or an error where there are none."""
    empty = True
    for text in texts:
        empty = False
        yield text
    if empty:
        raise DataError("there is no text to train a vocabulary on; name a source that holds some")
