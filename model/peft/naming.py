"""What a tuned map of ours is called in `peft`: the family's name of its kernel, and how the axes of both lie.

A kernel of ours [inputs, outputs] has one row in the table of its family. The thin matrices of `peft` have the sides of the
published matrix, A as (R, in) and B as (out, R), whichever way that matrix is stored.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from model.capture import LAYERS
from model.decoder import LanguageModel
from model.encoder import Encoder, MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.layout import PARTS, Group, Layout, Letters, layout
from model.linear import Linear
from model.output import Output
from model.peft.sites import WORDS, Path, PeftError, at, stack_at
from model.published import LAYER, Architecture, Family, HubError, Row
from model.publishing import architecture_of, express
from model.vision import VisionTransformer
from model.weights import canonical, rows_of

FINISHED = (MaskedLanguageModel, Encoder, LanguageModel, EncoderDecoder, VisionTransformer)
ROOT = "base_model.model."


class Base(NamedTuple):
    """The published model inside a model: itself, or the part of it that has a family.

    Attributes:
        path: where it lies.
        module: itself.
        family: its family.
        architecture: as the family has it.
        bare: whether its published class has no head, so that names lack the family's prefix.
    """

    path: Path
    module: Any
    family: Family
    architecture: Architecture
    bare: bool


class Part(NamedTuple):
    """A linear map of ours in one layer, and the published matrix that it is, or is a part of.

    Attributes:
        path: of the map, from the model.
        layer: its row in a stack; None outside of one.
        row: of its kernel in the family's table.
    """

    path: Path
    layer: int | None
    row: Row


def base_of(model: nnx.Module) -> Base:
    """The first part of a model that a family can express; PeftError where there is none."""
    refusal: HubError | None = None
    for path, module in sorted(nnx.iter_modules(model), key=lambda item: len(item[0])):
        kind = next((kind for kind in FINISHED if isinstance(module, kind)), None)
        if kind is None or any(word in WORDS for word in path):
            continue
        try:
            expressed = express(_bare(dataclasses.replace(architecture_of(module), make=kind)))
        except HubError as error:
            refusal = refusal or error
            continue
        family = expressed.family
        bare = not path and type(module) is kind and expressed.fields["architectures"] == [family.base]
        return Base(path, module, family, expressed.architecture, bare)
    raise PeftError(f"peft has names for published models only: {refusal or f'a {type(model).__name__} holds none'}")


def _bare(architecture: Architecture) -> Architecture:
    """An encoder without a head, or beneath that of a task, keeps none of what its config and class say of one."""
    if architecture.make is not Encoder:
        return architecture
    options = {name: value for name, value in architecture.options.items() if name == "pooler"}
    config = dataclasses.replace(architecture.config, output=Output())
    return dataclasses.replace(architecture, config=config, options=options)


def parts_of(model: nnx.Module, base: Base) -> dict[str, list[Part]]:
    """The linear maps of each published matrix by the name of its module, those that share one in their order."""
    maps: dict[str, list[tuple[Path, int | None, int]]] = {}
    for path, module in nnx.iter_modules(base.module):
        if not isinstance(module, Linear) or any(word in WORDS for word in path):
            continue
        whole = (*base.path, *path)
        number = next((word for before, word in itertools.pairwise(path) if before == LAYERS), None)
        if stack_at(model, whole) is not None:
            rows = jax.tree.leaves(nnx.state(module))[0].shape[0]
            places = [(whole, row, row) for row in range(rows)]
        else:
            places = [(whole, None, number if isinstance(number, int) else 0)]
        plain = ".".join(str(word) for word in path if not isinstance(word, int)) + ".kernel"
        maps.setdefault(plain, []).extend(places)
    parts: dict[str, list[Part]] = {}
    for name, row in rows_of(base.family, maps).items():
        for path, layer, number in maps[name]:
            theirs = row.theirs.removesuffix(".weight").replace(LAYER, str(number))
            parts.setdefault(theirs, []).append(Part(path, layer, row))
    return {name: sorted(group, key=lambda part: part.row.part) for name, group in parts.items()}


def map_of(model: nnx.Module, part: Part) -> Any:
    """The linear map of a part, as that of one layer."""
    module = at(model, part.path)
    if part.layer is None:
        return module
    graph, state = nnx.split(module)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf[part.layer], state))


def published_name(name: str, base: Base) -> str:
    """What `peft` calls a module of the family's table."""
    return ROOT + (name.removeprefix(base.family.prefix) if base.bare else name)


def table_name(name: str, base: Base) -> str:
    """The inverse, of a name with or without the family's prefix."""
    return canonical(name.removeprefix(ROOT) + ".weight", base.family).removesuffix(".weight")


class Sides(NamedTuple):
    """How inputs and outputs of a map lie, published and ours, and the sizes of their letters.

    Attributes:
        a: of A.
        b: of B.
        outputs: of a vector over outputs.
        inputs: of a vector over inputs.
        sizes: of letters, R aside.
        parts: how many maps share the published matrix.
        transposed: whether that matrix is stored (in, out).
    """

    a: Layout
    b: Layout
    outputs: Layout
    inputs: Layout
    sizes: Letters
    parts: int
    transposed: bool

    @property
    def width(self) -> int:
        """Outputs of one part."""
        return math.prod(self.outputs.published_shape(self.sizes))


def sides_of(linear: Linear, row: Row, base: Base) -> Sides:
    """The sides of a map of one layer; PeftError for a convolution, which `peft` factors otherwise."""
    lies = layout(row.layout)
    if len(lies.theirs) != 2:
        raise PeftError(
            f"{row.theirs} is a convolution as published, with factors of other axes; leave it out of sites"
        )
    ins, outs = _words(lies.ours[: linear.contracted]), _words(lies.ours[linear.contracted :])
    transposed = set(lies.theirs[0]) <= set(ins.split())
    their_in, their_out = (_words([group]).replace(PARTS, "") for group in lies.theirs[:: 1 if transposed else -1])
    sizes = lies.sizes(linear.full_kernel().shape, base.family.sizes(base.architecture.config))
    return Sides(
        a=layout(f"R ({their_in}) -> {ins} R"),
        b=layout(f"({their_out}) R -> R {outs}"),
        outputs=layout(f"({their_out}) -> {outs}"),
        inputs=layout(f"({their_in}) -> {ins}"),
        sizes=sizes,
        parts=sizes[PARTS] if any(PARTS in group for group in lies.theirs) else 1,
        transposed=transposed,
    )


def write(lies: Layout, array: Any, sizes: Letters) -> np.ndarray:
    """One of our arrays as the published one."""
    return np.ascontiguousarray(lies.write(np.asarray(array), sizes))


def read(lies: Layout, tensor: np.ndarray, sizes: Letters) -> np.ndarray:
    """The inverse."""
    return np.ascontiguousarray(lies.read(tensor, sizes))


def _words(groups: Iterable[Group]) -> str:
    return " ".join(letter for group in groups for letter in group)
