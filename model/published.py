"""What a family says of its published models: the fields of config.json and the names of tensors, each readable both ways.

A `Family` is one value a published `model_type`. Its table pairs the path of every parameter of ours with a published name
and a layout; the same row serves reading and writing, so that what is loaded and saved again is the same to the last bit.
"""

import fnmatch
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flax import nnx

from model.config import TransformerConfig, largest
from model.foreign import one_line
from model.mlp import Activation

LAYER = "{}"  # stands for the number of a layer in published names


class HubError(ValueError):
    """A published folder that cannot be read, or a model that cannot be published; one line with the remedy."""

    exit_code = 2

    def __init__(self, message: str):
        super().__init__(one_line(message))


class CannotExpress(HubError):
    """What a family has no words for, field by field.

    `strange`: it has no such class of models at all. `field`: the one of our config of which it knows other choices.
    """

    def __init__(self, family: str, *what: str, strange: bool = False, field: str = ""):
        super().__init__(f"{family} cannot express {', '.join(what)}")
        self.family, self.what, self.strange, self.field = family, what, strange, field


@dataclass(frozen=True)
class Row:
    """One parameter: where it is in ours, what it is called as published, and how the two lie."""

    ours: str
    """Path of the parameter, as layers.attention.query.kernel; stacked layers lead with an axis of their own."""
    theirs: str
    """Published name, with {} for the number of the layer."""
    layout: str
    """Axes of the published tensor and of one layer of ours, see model/layout.py."""
    part: int = 0
    """Which of several tensors of ours that lie in the published one."""
    beside: str = ""
    """A parameter without which this row does not hold; of two rows that hold, the later one does."""
    repeated: str = ""
    """Another name under which the published implementation stores such a tensor too, though it reads this one only."""


@dataclass(frozen=True)
class Architecture:
    """A model to be: its class, its config, and what its class is told besides."""

    make: Callable[..., nnx.Module]
    config: TransformerConfig
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """The model, its weights drawn from `rngs`."""
        return self.make(self.config, **self.options, rngs=rngs)


@dataclass(frozen=True)
class Site:
    """Where our activation should equal a published one."""

    ours: str
    """Site of model/capture.py, with {} for the layer."""
    theirs: str
    """Published module, as transformers 5 has it, with {} for the layer; empty for the whole model."""
    of: str = "output"
    """What of the module it is: its "output" (the first where there are several), its "input", or a field of its output."""

    def at(self, layer: int) -> "Site":
        """The site in one layer."""
        number = str(layer)
        return Site(self.ours.replace(LAYER, number), self.theirs.replace(LAYER, number), self.of)

    @property
    def name(self) -> str:
        """The published side in words."""
        return self.theirs if self.of == "output" else f"{self.of} of {self.theirs}" if self.theirs else self.of


@dataclass(frozen=True)
class Family:
    """One published `model_type`: names, fields and parts."""

    model_type: str
    """The word in config.json."""
    prefix: str
    """What names of the base model begin with in a file that has a head, as "bert."; such a file may leave it out."""
    read: Callable[["Fields", Collection[str]], Architecture]
    """The model that a config.json and the names in its file describe."""
    write: Callable[[Architecture], dict[str, Any]]
    """The fields of config.json that say this model, `architectures` among them; raises HubError for what they cannot."""
    table: Sequence[Row]
    """Every parameter that a model of this family may have."""
    sites: Sequence[Site] = ()
    """Activations in the order in which they arise."""
    sizes: Callable[[TransformerConfig], dict[str, int]] = lambda config: {}
    """Sizes of letters that only the published side has."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Names that may repeat, or take the place of, another one: tied weights."""
    buffers: Sequence[str] = ()
    """Names of what is stored but is no parameter, as patterns: masks, position ids."""
    computed: Mapping[str, Callable[[tuple[int, ...]], np.ndarray]] = field(default_factory=dict)
    """Names of stored tables that are a function of their shape."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Ends of names in old files, and what they are called now."""
    kept: Collection[str] = ()
    """Fields of config.json that change nothing here, and are written again as they were read."""
    base: str = ""
    """The published class without a head, whose names lack the prefix."""
    complete: Callable[[Architecture], Architecture] = lambda architecture: architecture
    """The architecture with the parameters that its published class always has; those that ours lacks are written as zeros."""
    positions_count_tokens: bool = False
    """Whether padding inside a row takes no position (RoBERTa)."""


class Fields:
    """The fields of a config.json, each asked for once; what nobody asked for, or nobody understands, is a problem.

    Problems are collected, so that one error names them all.
    """

    def __init__(self, values: Mapping[str, Any], ignore: Collection[str] = ()):
        self.values, self.problems = dict(values), []
        self._seen: set[str] = set()
        self._ignore = ignore

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def take(self, name: str, default: Any, kind: type | None = None) -> Any:
        """The value of a field, or `default` where it is absent or null; it must be of the default's kind, or of `kind`.

        Whole numbers count something, so they lie between 0 and what `largest` says; others are finite.
        """
        self._seen.add(name)
        value = self.values.get(name)
        if value is None:
            return default
        kind = type(default) if kind is None and default is not None else kind
        if kind is float and type(value) is int and abs(value) < 2**53:
            value = float(value)
        if kind is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            self.problems.append(f"{name}={value!r} should be a {kind.__name__}")
            return default
        if kind is int and not 0 <= value <= largest(name):
            self.problems.append(f"{name}={value} should lie between 0 and {largest(name)}")
            return default
        if kind is float and not math.isfinite(value):
            self.problems.append(f"{name}={value} should be finite")
            return default
        return value

    def choose(self, name: str, default: str, choices: Mapping[str, Any]) -> Any:
        """A word of the field as what it stands for in ours."""
        word = self.take(name, default)
        if word not in choices:
            self.refuse(name, f"use one of {', '.join(choices)}")
            word = default
        return choices[word]

    def only(self, **allowed: Any) -> None:
        """Fields of which only these values are supported: a value, or a tuple of them. Absent or null is always well."""
        for name, values in allowed.items():
            value = self.take(name, None)
            if value is not None and value not in (values if isinstance(values, tuple) else (values,)):
                self.refuse(name)

    def skip(self, *names: str) -> None:
        """Fields that do not change what is computed."""
        self._seen.update(names)

    def refuse(self, name: str, remedy: str = "") -> None:
        """Note a field whose value is not supported, unless it is to be ignored."""
        if not matches(name, self._ignore):
            value = self.values.get(name)
            said = f"{name}={value!r} changes the computation and is not supported"
            self.problems.append(f"{said}; {remedy}" if remedy else said)

    def finish(self, family: str) -> list[str]:
        """Every problem, fields that nobody asked for among them."""
        self.only(**UNUSED)
        self.skip("chunk_size_feed_forward")  # memory only
        known = self._seen | IRRELEVANT
        unknown = {name: value for name, value in self.values.items() if name not in known and value is not None}
        unknown = {name: value for name, value in unknown.items() if not matches(name, self._ignore)}
        if unknown:
            said = ", ".join(f"{name}={value!r}" for name, value in unknown.items())
            self.problems.append(
                f"{family} knows no field {said}; if it does not change what is computed, pass ignore={list(unknown)}"
            )
        return self.problems


# Fields of any family that say nothing about what is computed: names, training, generation, labels, the form of results.
IRRELEVANT = frozenset(
    """
    _name_or_path _num_labels architectures attn_implementation _attn_implementation_autoset auto_map bad_words_ids
    begin_suppress_tokens bos_token_id classif_dropout classifier_dropout cls_token_id decoder_start_token_id
    diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eos_token_id eos_token_ids
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label
    initializer_range is_encoder_decoder keys_to_ignore_at_inference label2id language length_penalty mask_token_id max_length
    min_length model_type no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences
    output_attentions output_hidden_states output_past output_scores pad_token_id prefix problem_type remove_invalid_values
    repetition_penalty return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature
    tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p unk_token_id use_bfloat16 use_cache
    """.split()  # noqa: SIM905 (a table of words)
)

# Fields of any family that no model here makes use of, and the value that says so.
UNUSED: dict[str, Any] = {
    "add_cross_attention": False,
    "cross_attention_hidden_size": (),
    "is_decoder": False,
    "pruned_heads": ({}, []),
    "tie_encoder_decoder": False,
}

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu_squared",
    "silu": "silu",
    "swish": "silu",
}
"""Published words for activations, and ours."""
ACTIVATION_WORDS = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
"""Ours, and the published words that are written for them."""


def several(names: Collection[str]) -> str:
    """Names in a list, those that differ in the number of a layer as one.

    >>> several(["h.0.bias", "h.1.bias", "h.2.bias", "norm"])
    'h.0-2.bias, norm'
    """
    numbers: dict[str, list[int]] = {}
    for name in names:
        found = re.search(r"\.(\d+)\.", name)
        numbers.setdefault(name if found is None else name.replace(found[0], ".{}.", 1), []).extend(
            [] if found is None else [int(found[1])]
        )
    said = []
    for name, layers in numbers.items():
        if not layers:
            said.append(name)
        elif len(layers) > 1 and sorted(layers) == list(range(min(layers), max(layers) + 1)):
            said.append(name.replace("{}", f"{min(layers)}-{max(layers)}", 1))
        else:
            said += [name.replace("{}", str(number), 1) for number in layers]
    return ", ".join(said)


def matches(name: str, patterns: Collection[str]) -> bool:
    """Whether a name matches one of several patterns in which * stands for anything.

    >>> matches("h.3.attn.bias", ["h.*.attn.bias"])
    True
    """
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def dense(ours: str, theirs: str, weight: str = "F D -> D F", bias: str = "F -> F") -> list[Row]:
    """Rows of a linear map."""
    return [Row(f"{ours}.kernel", f"{theirs}.weight", weight), Row(f"{ours}.bias", f"{theirs}.bias", bias)]


def norm(ours: str, theirs: str) -> list[Row]:
    """Rows of a norm."""
    return [Row(f"{ours}.scale", f"{theirs}.weight", "D -> D"), Row(f"{ours}.bias", f"{theirs}.bias", "D -> D")]


def table(ours: str, theirs: str) -> list[Row]:
    """The row of a table of embeddings."""
    return [Row(f"{ours}.embedding", f"{theirs}.weight", "V D -> V D")]


def attention(ours: str, theirs: str, query: str, key: str, value: str, out: str) -> list[Row]:
    """Rows of the four projections of an attention, whose published names follow `theirs`."""
    return [
        *dense(f"{ours}.query", theirs + query, "(N H) D -> D N H", "(N H) -> N H"),
        *dense(f"{ours}.key", theirs + key, "(K H) D -> D K H", "(K H) -> K H"),
        *dense(f"{ours}.value", theirs + value, "(K H) D -> D K H", "(K H) -> K H"),
        *dense(f"{ours}.out", theirs + out, "D (N H) -> N H D", "D -> D"),
    ]


def need(value: Any, kind: Any, field_name: str, family: str) -> Any:
    """`value` if it is of `kind`; CannotExpress names the field of our config otherwise."""
    if not isinstance(value, kind):
        raise CannotExpress(family, f"{field_name}={value!r}", field=field_name)
    return value


def class_name(architecture: Architecture, family: str, names: Mapping[Any, str]) -> str:
    """The published class of a model; CannotExpress where the family has none for its class."""
    if architecture.make not in names:
        made = getattr(architecture.make, "__name__", architecture.make)
        raise CannotExpress(family, f"the class {made}", strange=True)
    return names[architecture.make]
