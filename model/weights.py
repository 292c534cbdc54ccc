"""Published weights read: every tensor finds its parameter and every parameter its tensor, or one error names them all."""

import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Sharding

from model.families.known import FAMILIES
from model.filling import Box, fill
from model.foreign import read_json
from model.hub import BYTES, CONFIG, Tensors
from model.layout import Letters, layout
from model.published import LAYER, Architecture, Family, Fields, HubError, Row, matches, several

Placing = Callable[[str, tuple[int, ...]], Sharding]
PIECE, LEAST = 16 << 20, 1 << 20  # bytes that are read at once: a tenth of the largest tensor, between these two


@dataclass(frozen=True)
class Published:
    """A published folder, opened; none of its weights are read yet.

    Attributes:
        folder: where it lies.
        fields: its config.json.
        family: who understands it.
        architecture: the model that it describes.
        tensors: what its files hold.
        sources: names in the files by the names of the family's table.
    """

    folder: Path
    fields: dict[str, Any]
    family: Family
    architecture: Architecture
    tensors: Tensors
    sources: dict[str, str]


@dataclass(frozen=True)
class _Filling:
    """What fills one parameter: its row, the sizes of the row's letters, and a published name for each layer."""

    row: Row
    sizes: Letters
    names: list[str]

    @property
    def stacked(self) -> bool:
        return LAYER in self.row.theirs


def open_published(folder: str | Path, *, ignore: Collection[str] = ()) -> Published:
    """Read config.json and the headers of the weights' files. HubError, one line, for whatever is not as it should be.

    `ignore` are patterns, * for anything, of tensors and of config fields that are left aside.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise HubError(f"there is no folder {folder}; name a published folder")
    if not (folder / CONFIG).is_file():
        raise HubError(f"{folder} has no {CONFIG}; name a folder as save_pretrained writes it")
    values = read_json(folder / CONFIG, HubError)
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise HubError(f"{folder / CONFIG}: model_type={kind!r} is not known; known are {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    tensors = Tensors(folder)
    sources = {canonical(name, family): name for name in tensors if not matches(name, ignore)}
    fields = Fields(values, ignore)
    try:
        architecture = family.read(fields, sources)
    except ValueError as error:  # not all fields have been asked for then
        raise HubError(f"{folder / CONFIG}: {'; '.join([*fields.problems, str(error)])}") from error
    if problems := fields.finish(family.model_type):
        raise HubError(f"{folder / CONFIG}: {'; '.join(problems)}")
    if problems := implausible(architecture, tensors):
        raise HubError(f"{folder / CONFIG} is of another model than the files beside it: {'; '.join(problems)}")
    return Published(folder, values, family, architecture, tensors, sources)


def implausible(architecture: Architecture, tensors: Tensors) -> list[str]:
    """Sizes that the tensors of the files cannot have, found before anything of these sizes is made.

    Every layer has a tensor of its own, and every size is an axis, or a part of one, of some tensor that holds numbers.
    """
    config, shapes = architecture.config, [tensors.shape(name) for name in tensors]
    longest = max((size for shape in shapes if math.prod(shape) for size in shape), default=0)
    sizes = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "heads times their size": config.attention.num_heads * config.attention.head_size_in(config.hidden_size),
        "intermediate_size": 0 if config.mlp is None else config.mlp.intermediate_size,
        "positions": getattr(config.positions, "max_length", 0),
        "token types": config.num_token_types,
        "buckets": getattr(config.positions, "num_buckets", 0),
        "patch_size": 0 if config.patches is None else max(config.patches.patch_size, config.patches.num_channels),
        "labels": architecture.options.get("outputs", 0),
    }
    problems = [
        f"{name} is {size:,}, and the longest axis there {longest:,}" for name, size in sizes.items() if size > longest
    ]
    layers = max(config.num_layers, config.num_decoder_layers or 0)
    return problems + ([f"{layers:,} layers, and {len(shapes):,} tensors"] if layers > len(shapes) else [])


def read_model(published: Published, *, dtype: Any = "float32", placing: Placing | None = None) -> nnx.Module:
    """The model with its weights as `dtype` (None: as stored), each where `placing(path, shape)` says.

    HubError, before anything is read, if a tensor or a parameter is left over, or has another shape.
    """
    graph, shapes = abstract(published.architecture)
    tensors = published.tensors
    plan = _plan(published, shapes)
    largest = max(tensors.bytes(name) for filling in plan.values() for name in filling.names)
    most = min(max(largest // 10, LEAST), PIECE)
    tree: dict[str, Any] = {}
    for path, filling in plan.items():
        shape = shapes[path].shape
        stored = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}[
            tensors.kind(filling.names[0])
        ]
        pieces = _pieces(tensors, filling, most // 4)
        where = None if placing is None else placing(path, shape)
        array = fill(shape, jnp.dtype(stored if dtype is None else dtype), where, pieces, most=most)
        *parents, last = path.split(".")
        branch = tree
        for word in parents:
            branch = branch.setdefault(word, {})
        branch[last] = array
    return nnx.merge(graph, nnx.State(tree))


def abstract(architecture: Architecture) -> tuple[nnx.GraphDef, dict[str, jax.ShapeDtypeStruct]]:
    """The structure of a model, and the shapes of its parameters by their paths; nothing is computed."""
    graph, state = nnx.split(nnx.eval_shape(lambda: architecture.build(nnx.Rngs(0))), nnx.Param)
    return graph, {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}


def rows_of(family: Family, paths: Collection[str]) -> dict[str, Row]:
    """The row of each parameter that the family has."""
    return {row.ours: row for row in family.table if row.ours in paths and (not row.beside or row.beside in paths)}


def canonical(name: str, family: Family) -> str:
    """The name of the family's table for a name in a file: without the prefix, or as old files call it."""
    for old, new in family.renamed.items():
        if name.endswith(old):
            name = name.removesuffix(old) + new
    roots = {
        row.theirs.removeprefix(family.prefix).split(".")[0]
        for row in family.table
        if row.theirs.startswith(family.prefix)
    }
    roots |= {name.removeprefix(family.prefix).split(".")[0] for name in (*family.buffers, *family.computed, *family.copies)
              if name.startswith(family.prefix)}  # fmt: skip
    return family.prefix + name if not name.startswith(family.prefix) and name.split(".")[0] in roots else name


def _plan(published: Published, shapes: dict[str, Any]) -> dict[str, _Filling]:
    """Which tensors fill which parameter; HubError with everything that does not come out."""
    family, sources, tensors = published.family, published.sources, published.tensors
    known = family.sizes(published.architecture.config)
    rows = rows_of(family, shapes)
    stand_ins = {original: copy for copy, original in family.copies.items() if copy in sources}
    plan: dict[str, _Filling] = {}
    missing, wrong, used = [], [], set()
    for path, leaf in shapes.items():
        row = rows[path]
        shape = leaf.shape[1:] if LAYER in row.theirs else leaf.shape
        sizes = layout(row.layout).sizes(shape, known)
        expected = layout(row.layout).published_shape(sizes)
        layers = range(leaf.shape[0]) if LAYER in row.theirs else [0]
        names = []
        for number in layers:
            name = row.theirs.replace(LAYER, str(number))
            if name not in sources:
                name = stand_ins.get(name) or (row.repeated if row.repeated in sources else name)
            if name not in sources:
                missing.append(name)
                continue
            used |= {name, row.repeated}
            names.append(stored := sources[name])
            if tensors.shape(stored) != expected:
                wrong.append(f"{stored} has shape {tensors.shape(stored)}, not {expected}")
            elif tensors.kind(stored) not in BYTES:
                wrong.append(f"{stored} is of type {tensors.kind(stored)}, not {', '.join(BYTES)}")
        plan[path] = _Filling(row, sizes, names)
    aside = {*family.copies, *family.computed}
    extra = [sources[name] for name in sources if name not in used | aside and not matches(name, family.buffers)]
    problems = []
    if missing:
        problems.append(f"no tensor {several(missing)}, which its config.json asks for")
    problems += wrong
    if extra:
        patterns = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in extra})
        problems.append(f"no place for {several(extra)}; to leave them aside pass ignore={patterns}")
    if not problems:
        problems += _repeated(published, used)
    if problems:
        raise HubError(f"{published.folder} does not fit {family.model_type}: {'; '.join(problems)}")
    return plan


def _repeated(published: Published, used: Collection[str]) -> list[str]:
    """What is wrong with tensors that repeat another one, or that can be computed."""
    family, sources, tensors = published.family, published.sources, published.tensors
    problems = []
    for copy, original in family.copies.items():
        if copy in sources and original in sources and copy not in used:
            one, other = sources[copy], sources[original]
            same = tensors.shape(one) == tensors.shape(other) and all(
                np.array_equal(tensors.read(one, box), tensors.read(other, box)) for box in _boxes(tensors.shape(one))
            )
            if not same:
                problems.append(
                    f"{one} is not equal to {other}, to which config.json ties it; pass ignore=[{one!r}] to drop it, "
                    "or set tie_word_embeddings to false"
                )
    for name, compute in family.computed.items():
        if name in sources:
            stored = tensors.read(sources[name], ())
            if not np.allclose(stored, compute(stored.shape), atol=1e-4):
                problems.append(f"{sources[name]} is not the table that the family computes; it cannot be expressed")
    return problems


def _boxes(shape: tuple[int, ...]) -> Iterator[Box]:
    """Rows of a tensor, so many that they are few bytes."""
    step = max(1, LEAST // (4 * max(1, int(np.prod(shape[1:])))))
    for low in range(0, shape[0], step):
        yield (slice(low, min(low + step, shape[0])),)


def _pieces(tensors: Tensors, filling: _Filling, most: int) -> Iterator[tuple[Box, np.ndarray]]:
    """The pieces of a parameter, at most `most` bytes of float32 each, with the boxes that they fill."""
    lies = layout(filling.row.layout)
    for number, name in enumerate(filling.names):
        for theirs, ours in lies.pieces(filling.sizes, most // 4, filling.row.part):
            piece = lies.read(tensors.read(name, theirs), filling.sizes)
            yield ((slice(number, number + 1), *ours), piece[None]) if filling.stacked else (ours, piece)
