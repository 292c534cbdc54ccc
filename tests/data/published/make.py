"""Make the folders beside this file again: small tokenizers in each published layout, and the ids that transformers gives.

Needs transformers, sentencepiece and protobuf; from the root of the project:

    PYTHONPATH=. python tests/data/published/make.py
"""

import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path

import sentencepiece
import transformers

from data.tokenizers import ByteBPE, WordPiece, train_tokenizer

HERE = Path(__file__).parent
TEXT = (
    "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs! Größe und Straße: schöne Äpfel "
    "für Jürgen. Été à la plage, garçon naïf. Съешь же ещё этих мягких французских булок. 今天天气很好。世界和平 "
    "日本語のテキスト 한국어 문장 नमस्ते दुनिया مرحبا بالعالم 1234567890 isn't they're 😀 x = y + 2"
)
WORDS = TEXT.split(" ")
LINES = [" ".join(WORDS[(start + step) % len(WORDS)] for step in range(7)) for start in range(3 * len(WORDS))]
TEXTS = [
    "The quick brown fox",
    "two  spaces and\ttab\nline ",
    "Größe naïf café ÉTÉ",
    "今天天气 世界hello",
    "Съешь ещё булок",
    "مرحبا दुनिया 한국어",
    "x=y+2, isn't it? 12345",
    "😀 zebra ☃ ﬁne ①",
    "",
]
RULES = "9\t20\nA\t20\nFB01\t66 69\n2460\t31\n"  # white space, a ligature, a circled number; all of NFKC is 240 kB


def main() -> None:
    """Write every folder, and golden.json."""
    golden = {}
    for name, (kind, files) in folders().items():
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        published = kind.from_pretrained(str(folder))
        golden[name] = ids_of(published)
        if name in ("t5", "llama"):  # the same again as transformers 5 saves it, in one tokenizer.json
            published.save_pretrained(str(HERE / f"{name}_json"))
            golden[f"{name}_json"] = golden[name]
    rows = [f'"{name}": {json.dumps(found, ensure_ascii=False)}' for name, found in golden.items()]
    content = f'{{"texts": {json.dumps(TEXTS, ensure_ascii=False)},\n' + ",\n".join(rows) + "}\n"
    (HERE / "golden.json").write_text(content, encoding="utf-8")


def folders() -> dict:
    """The class that opens each folder, and the folder's files."""
    bert, roberta, gpt2 = (
        train_tokenizer(choice, LINES) for choice in (WordPiece(300), ByteBPE(300, "roberta"), ByteBPE(300))
    )
    cased = train_tokenizer(WordPiece(300, lowercase=False), LINES)
    settings = {
        "cased": {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
        "accents": {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False},
        "llama": {
            "tokenizer_class": "LlamaTokenizer",
            "add_bos_token": True,
            "bos_token": {"__type": "AddedToken", "content": "<s>"},
            "eos_token": {"__type": "AddedToken", "content": "</s>"},
            "unk_token": "<unk>",
            "pad_token": None,
            "legacy": True,
        },
    }
    t5 = piece_model(model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    llama = piece_model(
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        split_digits=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        normalization_rule_tsv="",
    )
    config = "tokenizer_config.json"
    return {
        "bert": (transformers.BertTokenizer, {"vocab.txt": lines(bert.pieces)}),
        "bert_cased": (
            transformers.BertTokenizer,
            {"vocab.txt": lines(cased.pieces), config: json.dumps(settings["cased"])},
        ),
        "bert_accents": (
            transformers.BertTokenizer,
            {"vocab.txt": lines(cased.pieces), config: json.dumps(settings["accents"])},
        ),
        "gpt2": (transformers.GPT2Tokenizer, byte_pairs(gpt2)),
        "roberta": (transformers.RobertaTokenizer, byte_pairs(roberta)),
        "t5": (transformers.T5Tokenizer, {"spiece.model": t5}),
        "xlm_r": (transformers.XLMRobertaTokenizer, {"sentencepiece.bpe.model": piece_model(model_type="unigram")}),
        "llama": (transformers.LlamaTokenizer, {"tokenizer.model": llama, config: json.dumps(settings["llama"])}),
    }


def ids_of(published) -> dict:
    """Ids with special tokens of each text, and of each with the text before it."""
    pairs = [published(first, second) for first, second in zip(TEXTS[1:], TEXTS, strict=False)]
    return {
        "size": len(published),
        "roles": {role: getattr(published, f"{role}_token_id", None) for role in ("pad", "bos", "eos", "mask")},
        "ids": [published(text)["input_ids"] for text in TEXTS],
        "pairs": [pair["input_ids"] for pair in pairs],
        "types": [pair["token_type_ids"] for pair in pairs] if "token_type_ids" in pairs[0] else None,
    }


def piece_model(**settings) -> bytes:
    """A sentencepiece model of the lines."""
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # the model remembers the name of its rules
        Path("rules.tsv").write_text(RULES)
        fixed = {"vocab_size": 165, "normalization_rule_tsv": "rules.tsv", "minloglevel": 2, "num_threads": 1}
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(LINES), model_writer=model, **(fixed | settings)
        )
    return model.getvalue()


def byte_pairs(tokenizer) -> dict[str, str]:
    """vocab.json and merges.txt of a byte-level BPE."""
    merges = json.loads(tokenizer.inner.to_str())["model"]["merges"]
    vocabulary = {piece: index for index, piece in enumerate(tokenizer.pieces)}
    return {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": lines(["#version: 0.2", *(" ".join(pair) for pair in merges)]),
    }


def lines(items) -> str:
    """One item a line."""
    return "\n".join(items) + "\n"


if __name__ == "__main__":
    main()
