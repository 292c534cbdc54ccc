"""Lists as programs print them into the cells of tables: Python, JSON, NumPy, pandas; read, or refused with what is wrong.

["red", "blue"]   ['red', 'blue']   ('red', 'blue')   {'red', 'blue'}          by JSON or Python
['red' 'blue']   [1 0 1]   [ True False]   [1. 0. 1.]                          by NumPy, over several lines too
array(['red'], dtype=object)   Index(['red'])   tensor([1, 0])   [np.str_('red')]   by their names
[red, blue]                                                                    without quotation marks
"""

import ast
import json
import re
import warnings
from typing import Any

# Each pattern takes time in proportion to a text, or nearly so, whatever that holds.
WRAPPED = re.compile(r"[A-Za-z][\w.]*\(\s*(\[.*\]|\{.*\}|\(.*\))\s*(?:,\s*\w+=[^\[\]]*+)?", re.DOTALL)
SCALAR = re.compile(r"\b(?:np|numpy)\.(?:\w+\(([^()]*)\)|(?=(?:True|False)_\b))")
EMPTY = re.compile(r"(?:set|frozenset|tuple|list)\(\)")
OPENED = re.compile(r"""[\[({]\s*(?:[bu]?['"]|\[)""")
PRINTED = re.compile(
    r"""\[\s*+(?:\]|[bu]?['"]|[\d.+-]|(?:True|False|None|true|false|null|nan|NaN)\b|np\.|numpy\.|[\[({]|[^\[\]'"][^\[\]'",]*+,[^\[\]]*+\]$)"""
    r"""|[({]\s*[bu]?['"]|[({]\s*(?:[01]|True|False)\s*[,}]"""
)
TOKEN = re.compile(
    r"""\s*(?:(?P<comma>,)|(?P<quoted>[bu]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))|(?P<bare>[^\s,'"\[\](){}]+))\s*""",
    re.DOTALL,
)
CLOSED = {"[": "]", "(": ")", "{": "}"}
WORDS = {"True": True, "True_": True, "False": False, "False_": False}
NONE = ("None", "nan", "NaN", "null", "<NA>", "NaT")


def is_listed(text: str) -> bool:
    """Whether a text spells a list, as tables of pandas do.

    >>> [is_listed(text) for text in ("[0]", "['a' 'b']", "array([1, 0])", "[a, b]", "[PAD]", "[sic] no", "[a], [b]")]
    [True, True, True, True, False, False, False]
    """
    text = _unwrapped(text.strip())
    if EMPTY.fullmatch(text):
        return True
    return len(text) > 1 and CLOSED.get(text[0]) == text[-1] and PRINTED.match(text) is not None


def is_broken(text: str) -> bool:
    """Whether a text begins as a list of texts does, and does not end as one.

    >>> is_broken("['a', 'b"), is_broken("['a', 'b']"), is_broken("[PAD]")
    (True, False, False)
    """
    return OPENED.match(text.strip()) is not None and not is_listed(text)


def read_list(text: str) -> list[Any]:
    """The items of a text that `is_listed`; ValueError says why it cannot be read.

    >>> read_list("['red' 'blue']"), read_list("[ True False]"), read_list("[1. 0.]"), read_list("[np.str_('a'), None]")
    (['red', 'blue'], [True, False], ['1', '0'], ['a', None])
    >>> read_list("['red' 'blue', 'green']")
    Traceback (most recent call last):
    ValueError: it has commas between some of its items only
    """
    text = text.strip()
    if not is_listed(text):
        raise ValueError("it does not end as one")
    if EMPTY.fullmatch(text):
        return []
    text = _unwrapped(text)
    if text[0] == "[":
        try:
            return list(json.loads(text))
        except (ValueError, RecursionError):
            pass
    groups = _groups(SCALAR.sub(r"\1", text[1:-1]))
    if len(groups) == 1:
        return groups[0]
    items = []
    for group in groups:
        words = all(isinstance(item, str) and not re.fullmatch(r"[\d.+-]+", item) for item in group)
        if len(group) > 1 and (not words or any(isinstance(item, _Quoted) for item in group)):
            raise ValueError("it has commas between some of its items only")
        items.append(group[0] if len(group) == 1 else " ".join(group))
    return items


def _unwrapped(text: str) -> str:
    """What stands in array(...), tensor(...) and their like; another text as it is."""
    found = WRAPPED.fullmatch(text, 0, len(text) - 1) if text.endswith(")") else None
    return text if found is None else found[1]


class _Quoted(str):
    """An item that stood between quotation marks."""


def _groups(inside: str) -> list[list[Any]]:
    """The items between commas."""
    groups: list[list[Any]] = [[]]
    at, inside = 0, inside.rstrip()
    while at < len(inside):
        found = TOKEN.match(inside, at)
        if found is None:
            raise ValueError(
                "it holds a list in a list" if inside[at:].lstrip()[:1] in "[({" else "a quotation mark is open"
            )
        at = found.end()
        if found["comma"]:
            if not groups[-1]:
                raise ValueError("an item is empty")
            groups.append([])
        elif found["quoted"]:
            groups[-1].append(_Quoted(_unquoted(found["quoted"])))
        else:
            groups[-1].append(_word(found["bare"]))
    return groups[:-1] if len(groups) > 1 and not groups[-1] else groups


def _unquoted(text: str) -> str:
    if text[0] in "'\"" and "\\" not in text and text.isprintable():  # a literal as it is: much faster
        return text[1:-1]
    with warnings.catch_warnings(action="ignore"):  # of a backslash before a letter that makes no escape
        try:
            item = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            raise ValueError(f"{text[:40]} is no text of Python") from None
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else item


def _word(word: str) -> Any:
    word = re.sub(r"^(?:np|numpy|pd)\.", "", word)
    if word in ("...", "\u2026"):
        raise ValueError("it was cut short with ... where it was printed")
    if word.endswith(":") or ":" in word[1:-1]:
        raise ValueError("it holds names with values, as a dictionary does")
    if word in WORDS or word in NONE:
        return WORDS.get(word)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", word):
        return float(word)
    return word.removesuffix(".") if re.fullmatch(r"[+-]?\d+\.", word) else word
