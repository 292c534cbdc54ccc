"""The shape of a transformer as one frozen value, and frozen values as JSON, both ways.

A choice (which positions, which norm, which MLP) is a small frozen dataclass that lives in the file of the module it
builds; `TransformerConfig` collects one of each. `to_json` and `from_json` know nothing of transformers: they carry any
tree of frozen dataclasses, so that a run folder keeps its whole experiment in the same form.
"""

import dataclasses
import difflib
import functools
import math
import pathlib
import re
import types
import typing
from typing import Any, Literal, TypeVar

from model.attention import MultiHead
from model.initializers import Initialization, Initializer, Role, TruncatedNormal
from model.mlp import GatedMLP, PlainMLP
from model.norms import LayerNorm, RMSNorm
from model.output import Output
from model.patches import Patches
from model.positions import ALiBi, LearnedPositions, NoPositions, RelativeBuckets, SinusoidalPositions
from model.rotary import Rotary
from model.stack import Stack

T = TypeVar("T")
MOST, MOST_LAYERS = 2**31 - 1, 4_096  # of anything that a shape counts, and of layers


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """What a transformer is made of. Nothing here says what it is trained for, on what, or in which precision."""

    vocab_size: int
    """Number of token embeddings; the tokenizer has at most as many. 0 in a model that reads no tokens."""
    hidden_size: int
    """Width D of the residual stream."""
    num_layers: int
    """Number of blocks L; of the encoder's, where there is a decoder beside it."""
    attention: MultiHead
    """Heads of the attention."""
    mlp: PlainMLP | GatedMLP | None
    """The feed-forward half of a block; None leaves attention alone."""
    positions: LearnedPositions | SinusoidalPositions | Rotary | ALiBi | RelativeBuckets | NoPositions = (
        LearnedPositions()
    )
    """What tells the model the order of its tokens."""
    norm: LayerNorm | RMSNorm = LayerNorm()
    """The normalisation, the same one everywhere."""
    norm_placement: Literal["post", "pre", "sandwich", "parallel"] = "post"
    """"post": x = norm(x + f(x)), as in the first papers. "pre": x = x + f(norm(x)). "sandwich": x = x + norm(f(norm(x))).
    "parallel": x = x + attention(norm(x)) + mlp(norm(x)). All but the first end with one more norm."""
    output: Output = Output()
    """What turns hidden states into scores of tokens."""
    num_decoder_layers: int | None = None
    """Blocks of the decoder of an encoder-decoder; None: as many as its encoder has."""
    num_token_types: int = 0
    """Kinds of segment (BERT: first and second sentence of a pair); 0 has no such table."""
    embedding_size: int | None = None
    """Width of the token embeddings where they are factored (ALBERT, arXiv:1909.11942); None: the model's."""
    norm_embeddings: bool = True
    """Whether the sum of embeddings is normalised before the first block."""
    scale_embeddings: bool = False
    """Whether token embeddings are multiplied by sqrt(D), as in arXiv:1706.03762, section 3.4."""
    patches: Patches | None = None
    """Images cut into patches, in the place of tokens."""
    share_layers: bool = False
    """Whether all blocks have the same parameters (ALBERT)."""
    dropout_rate: float = 0.1
    """Dropout on embeddings and on what each half of a block adds; the attention weights have their own."""
    layer_drop_rate: float = 0.0
    """Share of blocks that an example skips in training (LayerDrop, Fan et al., arXiv:1909.11556)."""
    initializer: Initialization = TruncatedNormal()
    """How weights are drawn."""
    stack: Stack = Stack()
    """How the blocks are run: it changes time and memory, never values."""

    def __post_init__(self):
        for name, least in (("vocab_size", 0), ("hidden_size", 1), ("num_layers", 1), ("num_token_types", 0)):
            if not least <= getattr(self, name) <= (most := largest(name)):
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}, and at most {most}")
        for name in ("num_decoder_layers", "embedding_size"):
            if (value := getattr(self, name)) is not None and not 1 <= value <= (most := largest(name)):
                raise ValueError(f"{name}={value} must be at least 1 and at most {most}, or None")
        for name in ("dropout_rate", "layer_drop_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1)")
        self.attention.head_size_in(self.hidden_size)  # raises where the heads do not divide the width
        self.initializer.check(self)

    def draw(self, role: Role, fan_in: int, fan_out: int) -> Initializer:
        """The initializer of a parameter by its role and sizes."""
        return self.initializer.draw(role, fan_in, fan_out, self.num_layers)


def largest(name: str) -> int:
    """The largest whole number that a field may have: tensors have axes of 31 bits, and no model thousands of layers.

    >>> largest("num_hidden_layers"), largest("hidden_size")
    (4096, 2147483647)
    """
    return MOST_LAYERS if name.endswith(("layer", "layers")) else MOST


def to_json(value: Any) -> Any:
    """Turn a tree of frozen dataclasses into what `json.dumps` takes; each nested choice says its "name".

    A value whose class has `__from_word__` is written as its `str`, and read again by that.

    >>> to_json(Stack(loop="unroll"))
    {'loop': 'unroll', 'remat': None}
    >>> to_json((1, LayerNorm(epsilon=1e-6)))
    [1, {'name': 'layer_norm', 'epsilon': 1e-06, 'bias': True}]
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _tagged_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return _tagged_json(value)


def from_json(cls: type[T], value: Any) -> T:
    """Build the dataclass `cls` from what `to_json` wrote; the inverse of it.

    Fields left out take their defaults. A field that `cls` does not have, one that is missing and has no default, a value
    of another type, or an unknown choice raises ValueError: one line that says where, and names the nearest known word.

    >>> from_json(Stack, {"loop": "unroll"})
    Stack(loop='unroll', remat=None)
    >>> from_json(Stack, {"lop": "unroll"})
    Traceback (most recent call last):
        ...
    ValueError: Stack has no field 'lop'; did you mean 'loop'?
    """
    return _read(cls, value, "")


def check_values(value: Any, where: str = "") -> None:
    """ValueError, with the dotted path, where a field of a tree of dataclasses is not of the kind that it is declared to be.

    Python lets any value into a dataclass; what `from_json` could not read again would train, and then not be opened.
    Choices of a user's own class are let through; their fields are looked at as well.

    >>> check_values(dataclasses.make_dataclass("Choice", [("bias", bool, True)])("no"))
    Traceback (most recent call last):
        ...
    ValueError: bias: expected bool, found 'no'
    """
    for field, kind in _kinds(type(value)):
        inner, at = getattr(value, field), f"{where}.{field}".lstrip(".")
        if dataclasses.is_dataclass(inner) and not isinstance(inner, type):
            check_values(inner, at)
        elif isinstance(inner, tuple) and any(dataclasses.is_dataclass(item) for item in inner):
            for number, item in enumerate(inner):
                if dataclasses.is_dataclass(item):
                    check_values(item, f"{at}[{number}]")
        else:
            try:
                plain = _tagged_json(inner)
            except TypeError as error:
                raise ValueError(f"{at}: {error}; write a plain number, text or choice") from error
            if isinstance(inner, list) and tuple in (kind, typing.get_origin(kind)):
                raise ValueError(f"{at}: expected a tuple, found the list {inner!r}; write (…,)")
            _read(kind, plain, at)


@functools.cache
def _kinds(cls: type) -> tuple[tuple[str, Any], ...]:
    """The fields of a dataclass with what they are declared to be; none where a user's own class names what is not there."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):
        return ()
    return tuple((field.name, hints[field.name]) for field in dataclasses.fields(cls) if field.init)


def choice_name(cls: Any) -> str:
    """The word that names a choice in JSON and on the command line: its class name in lower_snake form.

    >>> choice_name(SinusoidalPositions), choice_name(GatedMLP), choice_name(RMSNorm)
    ('sinusoidal_positions', 'gated_mlp', 'rms_norm')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


def _tagged_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = to_json(value)
        if "name" in fields:
            raise TypeError(f"{type(value).__name__} has a field 'name', a word kept for the choice itself; rename it")
        return {"name": choice_name(type(value)), **fields}
    if isinstance(value, dict):
        return {str(key): _tagged_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tagged_json(item) for item in value]
    if isinstance(value, pathlib.PurePath) or hasattr(type(value), "__from_word__"):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", "nan": JSON has no word for them
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _read(kind: Any, value: Any, where: str) -> Any:
    """Read `value` as the annotation `kind`; `where` is the dotted path so far, for the error."""
    at = f"{where}: " if where else ""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _read(arguments[0], value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, value, where)
    if origin is Literal:
        if value in arguments:
            return value
        raise ValueError(f"{at}{value!r} is not one of {', '.join(map(repr, arguments))}{_nearest(value, arguments)}")
    if origin in (tuple, list) or kind in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{at}expected a list, found {value!r}")
        if origin is list or arguments[1:] == (Ellipsis,):
            inner = [arguments[0]] * len(value)
        else:
            inner = list(arguments) or [Any] * len(value)
        if len(inner) != len(value):
            raise ValueError(f"{at}expected {len(inner)} values, found {len(value)}")
        items = (_read(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(zip(inner, value, strict=True)))
        return (list if origin is list or kind is list else tuple)(items)
    if origin is dict or kind is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{at}expected a mapping, found {value!r}")
        inner_kind = arguments[1] if arguments else Any
        return {key: _read(inner_kind, item, f"{where}.{key}") for key, item in value.items()}
    if kind is Any:
        return value
    return _read_scalar(kind, value, at)


def _read_scalar(kind: Any, value: Any, at: str) -> Any:
    if kind in (None, type(None)) and value is None:
        return None
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is float and value in ("inf", "-inf", "nan"):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in (bool, str) and isinstance(value, kind):
        return value
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath) and isinstance(value, str):
        return kind(value)
    if (reader := getattr(kind, "__from_word__", None)) is not None and isinstance(value, str):
        return reader(value)
    raise ValueError(f"{at}expected {getattr(kind, '__name__', kind)}, found {value!r}")


def _read_dataclass(cls: Any, value: Any, where: str) -> Any:
    at = f"{where}: " if where else ""
    if not isinstance(value, dict):
        raise ValueError(f"{at}expected the fields of {cls.__name__}, found {value!r}")
    value = dict(value)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    if "name" not in fields and (tag := value.pop("name", choice_name(cls))) != choice_name(cls):
        raise ValueError(f"{at}{tag!r} is not {choice_name(cls)!r}, the only choice here")
    for name in value:
        if name not in fields:
            raise ValueError(f"{at}{cls.__name__} has no field {name!r}{_nearest(name, fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise ValueError(f"{at}{cls.__name__} needs the field {name!r}")
    kinds = typing.get_type_hints(cls, include_extras=True)
    return cls(**{name: _read(kinds[name], item, f"{where}.{name}".lstrip(".")) for name, item in value.items()})


def _read_union(members: tuple, value: Any, where: str) -> Any:
    at = f"{where}: " if where else ""
    choices: dict[str, Any] = {choice_name(member): member for member in members if dataclasses.is_dataclass(member)}
    if isinstance(value, dict) and choices:
        tag = value.get("name")
        if tag is None and len(choices) == 1:
            (tag,) = choices
        if tag not in choices:
            raise ValueError(f"{at}{tag!r} is not one of {', '.join(choices)}{_nearest(tag, choices)}")
        return _read_dataclass(choices[tag], value, where)
    for member in sorted(members, key=lambda member: member is not type(value)):  # an int stays an int in int | float
        if not dataclasses.is_dataclass(member):
            try:
                return _read(member, value, where)
            except ValueError:
                continue
    names = ", ".join([*choices, *(getattr(m, "__name__", str(m)) for m in members if not dataclasses.is_dataclass(m))])
    raise ValueError(f"{at}{value!r} is none of {names}")


def _nearest(word: Any, known: Any) -> str:
    found = difflib.get_close_matches(str(word), [str(name) for name in known], n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
