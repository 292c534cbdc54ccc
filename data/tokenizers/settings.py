"""What a published folder says about its tokenizer beside the vocabulary itself."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.foreign import read_json

CONFIG = "tokenizer_config.json"
ROLE_NAMES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")
MOST_EXTRA = 100_000  # sentinels of a model
OPTIONS = (
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "add_prefix_space",
    "add_bos_token",
    "add_eos_token",
    "extra_ids",
)


@dataclass(frozen=True)
class Settings:
    """The parts of tokenizer_config.json, special_tokens_map.json and added_tokens.json that decide about ids."""

    kind: str = ""  # tokenizer_class, without the Fast at its end
    roles: dict[str, str | None] = field(default_factory=dict)  # "eos": "</s>"; None: no token has the role
    added: dict[int, str] = field(
        default_factory=dict
    )  # tokens by their ids, those of the vocabulary perhaps among them
    options: dict[str, Any] = field(default_factory=dict)  # those of OPTIONS that are given

    @staticmethod
    def read(folder: Path) -> "Settings":
        """The settings of a folder, empty where it has none of the three files; tokenizer_config.json comes first."""
        config, tokens = _object(folder / CONFIG), _object(folder / "special_tokens_map.json")
        roles = {
            role: _content(given[f"{role}_token"], folder)
            for given in (tokens, config)
            for role in ROLE_NAMES
            if f"{role}_token" in given
        }
        by_name = _object(folder / "added_tokens.json")
        decoder = config.get("added_tokens_decoder") or {}
        try:
            added = {int(index): str(name) for name, index in by_name.items()}
            added |= {int(index): str(_content(token, folder)) for index, token in decoder.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{folder} lists added tokens without a number each ({error}); copy its JSON files again"
            ) from error
        if strange := [index for index in added if not 0 <= index < 2**31]:
            raise DataError(f"{folder} lists an added token of id {strange[0]}; copy its JSON files again")
        for name in OPTIONS:
            value, wanted = config.get(name), int if name == "extra_ids" else bool
            if value is not None and (type(value) is not wanted or not 0 <= value <= MOST_EXTRA):
                should = f"a number up to {MOST_EXTRA:,}" if wanted is int else "true or false"
                raise DataError(f"{folder / CONFIG}: {name}={value!r} should be {should}; mend it there")
        kind = str(config.get("tokenizer_class") or "").removesuffix("Fast")
        return Settings(kind, roles, added, {name: config[name] for name in OPTIONS if config.get(name) is not None})

    def write(self, folder: Path) -> None:
        """Write tokenizer_config.json, unless there is nothing to say."""
        content: dict[str, Any] = {"tokenizer_class": self.kind} if self.kind else {}
        content |= {f"{role}_token": piece for role, piece in self.roles.items()} | self.options
        if self.added:
            decoder = {str(index): {"content": piece, "special": True} for index, piece in sorted(self.added.items())}
            content["added_tokens_decoder"] = decoder
        if content:
            (folder / CONFIG).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _object(path: Path) -> dict[str, Any]:
    """A file with one JSON object, empty where there is no such file."""
    if not path.is_file():
        return {}
    return read_json(path, DataError, remedy="copy it again, or remove it")


def _content(token: Any, folder: Path) -> str | None:
    """The text of a token, which is written as a word or as an object with its content."""
    text = token.get("content") if isinstance(token, dict) else token
    if text is not None and not isinstance(text, str):
        raise DataError(f"{folder} names a special token that is no text: {token!r}; copy its JSON files again")
    return text
