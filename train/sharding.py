"""Where every array lives: one table from parameter paths to logical axes, one from logical axes to mesh axes.

The same training step runs on one device or on many; only these two tables say how. A parallelism of a new kind adds rows.
Axes that a dimension does not divide by are dropped for that array (a vocabulary of 30,522 over 4 devices stays whole).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

# Parameter path (a suffix, as a regular expression) -> the logical axis of each dimension. Stacked layers lead with "layers".
AXES = (
    (r"embeddings\.tokens\.embedding", ("vocab", "embed")),
    (r"embeddings\.(positions|token_types|class_token)\.embedding", (None, "embed")),
    (r"embeddings\.projection\.kernel", (None, "embed")),
    (r"position_bias\.embedding", (None, "heads")),
    (r"(cross_)?attention\.(query|key|value)\.kernel", ("embed", "heads", None)),
    (r"(cross_)?attention\.(query|key|value)\.bias", ("heads", None)),
    (r"(cross_)?attention\.out\.kernel", ("heads", None, "embed")),
    (r"(cross_)?attention\.sinks", ("heads",)),
    (r"mlp\.(up|gate)\.kernel", ("embed", "mlp")),
    (r"mlp\.(up|gate)\.bias", ("mlp",)),
    (r"mlp\.down\.kernel", ("mlp", "embed")),
    (r"token_head\.transform\.kernel", ("embed", "mlp")),
    (r"token_head\.table\.embedding", ("vocab", "embed")),
    (r"token_head\.bias", ("vocab",)),
    (r"pair_head\.pooler\.kernel", ("embed", "mlp")),
    (r"(absmax|absmax_scale|absmax_mean)", ()),  # of kernels in four bits
    (r"(lora|ia3)\.(a|b|magnitude|inputs|outputs|energy)", ()),  # where no kernel says more
    (r"(prefix|prompt)\.(keys|values|embedding)", ()),
    (r"(scale|bias|kernel)", ()),  # norms, small biases, classifiers: whole on every device
)

# Logical axis -> mesh axes. The batch is split over both `data` and `fsdp`; `fsdp` also splits the parameters.
RULES = {
    "batch": ("data", "fsdp"),
    "embed": ("fsdp",),
    "vocab": ("tensor",),
    "heads": ("tensor",),
    "mlp": ("tensor",),
    "layers": (),
}


class MeshError(ValueError):
    """A mesh that does not fit the devices or the batch; the message is one line with the remedy."""

    exit_code = 2


@dataclass(frozen=True)
class MeshShape:
    """Devices along each kind of parallelism; `data` = -1 takes all that the others leave.

    `data` copies the parameters, `fsdp` splits them and gathers each layer when it runs (Rajbhandari et al.,
    arXiv:1910.02054), `tensor` splits heads, feed-forward units and the vocabulary (Shoeybi et al., arXiv:1909.08053).

    >>> MeshShape.parse("data=2,tensor=4")
    MeshShape(data=2, fsdp=1, tensor=4)
    >>> str(MeshShape(fsdp=2))
    'data=-1,fsdp=2,tensor=1'
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1

    @classmethod
    def parse(cls, text: str) -> "MeshShape":
        """Read `data=2,fsdp=2,tensor=2`; axes that are not named keep their default."""
        names = [field.name for field in fields(cls)]
        sizes = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, size = part.partition("=")
            if name not in names or not re.fullmatch(r"-1|[1-9]\d*", size):
                raise MeshError(f"mesh {text!r}: {part!r} is not AXIS=SIZE with AXIS one of {', '.join(names)}")
            sizes[name] = int(size)
        return cls(**sizes)

    def __str__(self) -> str:
        return ",".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))

    def resolve(self, devices: int) -> "MeshShape":
        """Fill in the axis given as -1. MeshError unless the axes multiply to `devices`."""
        sizes = {field.name: getattr(self, field.name) for field in fields(self)}
        free = [name for name, size in sizes.items() if size == -1]
        taken = math.prod(size for size in sizes.values() if size != -1)
        if len(free) == 1 and devices % taken == 0:
            sizes[free[0]] = devices // taken
        elif free or taken != devices:
            raise MeshError(f"mesh {self} does not fit {devices} devices; the product of its axes must be {devices}")
        return MeshShape(**sizes)


def make_mesh(shape: MeshShape, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over all devices (or those given). Axes are Auto: the compiler places activations from the arguments."""
    devices = jax.devices() if devices is None else devices
    shape = shape.resolve(len(devices))
    sizes = {field.name: getattr(shape, field.name) for field in fields(shape)}
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes), devices=devices)


def logical_axes(path: str, rank: int) -> tuple[str | None, ...]:
    """The logical axes of the parameter at a dotted path, padded on the left with "layers" for stacked ones.

    >>> logical_axes("encoder.layers.attention.query.kernel", 4)
    ('layers', 'embed', 'heads', None)
    """
    stacked = ("layers",) if ".layers." in f".{path}" else ()
    axes = factor_axes(path, rank - len(stacked))
    axes = table_axes(path) if axes is None else axes
    if axes is None:
        raise ValueError(f"no sharding for parameter {path}; add a row to AXES in train/sharding.py")
    return (stacked + axes + (None,) * rank)[:rank]


def table_axes(path: str) -> tuple[str | None, ...] | None:
    """The row of the table for a path."""
    return next((axes for pattern, axes in AXES if re.search(rf"(^|\.){pattern}$", path)), None)


def factor_axes(path: str, rank: int) -> tuple[str | None, ...] | None:
    """The axes of what model/peft adds to a kernel: those of the side that it shares; the rank of a thin matrix is not split.

    >>> factor_axes("layers.attention.query.lora.a", 2), factor_axes("layers.attention.query.lora.b", 3)
    (('embed',), (None, 'heads', None))
    """
    found = re.search(r"\.(?:lora|ia3|shift)\.(a|b|magnitude|inputs|outputs|bias)$", path)
    kernel = None if found is None else table_axes(path[: found.start()] + ".kernel")
    if found is None or kernel is None:
        return None
    match found[1]:
        case "a":
            return (kernel + (None,) * rank)[: rank - 1]
        case "b":
            return (None, *kernel[len(kernel) - rank + 1 :])
        case "inputs":
            return kernel[:rank]
    return kernel[len(kernel) - rank :]


def spec(axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """Mesh axes of each dimension; those that do not divide it are left out."""
    entries = []
    for axis, size in zip(axes, shape, strict=True):
        names = RULES[axis] if axis else ()
        devices = math.prod(mesh.shape[name] for name in names)
        entries.append(names if devices > 1 and size % devices == 0 else None)
    return PartitionSpec(*entries)


def shardings(tree, mesh: Mesh | AbstractMesh):
    """A NamedSharding for each array (or shape) of a tree of parameters, or of optimizer state that mirrors one.

    A leaf is found by the end of its path, so the moments of Adam lie where their parameters lie; scalars are everywhere.
    """

    def place(path, leaf):
        name = dotted(path)
        axes = logical_axes(name, len(leaf.shape)) if leaf.shape else ()
        return NamedSharding(mesh, spec(axes, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, tree)


def dotted(path) -> str:
    """A key path of JAX as `layers.attention.query.kernel`."""
    return ".".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over `data` and `fsdp`; every other dimension whole."""
    return NamedSharding(mesh, PartitionSpec(RULES["batch"]))


def keep_split(tree):
    """Inside a jitted function: hold parameters, or gradients like them, to the split of the table, if a mesh is set."""
    mesh = jax.sharding.get_abstract_mesh()
    return tree if mesh.empty else jax.lax.with_sharding_constraint(tree, shardings(tree, mesh))


def gather_unstacked(params):
    """Inside a jitted function: undo the `fsdp` split of the parameters outside the stack of layers, before they are used.

    Those of a layer are gathered by the compiler when the layer runs. It does not know how to look up rows of a table that
    is split by width, and would copy the looked-up rows to every device instead.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return params

    def gather(path, leaf):
        axes = logical_axes(dotted(path), leaf.ndim)
        if "layers" in axes:
            return leaf
        whole = spec(tuple(None if axis == "embed" else axis for axis in axes), leaf.shape, mesh)
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, whole))

    return jax.tree_util.tree_map_with_path(gather, params)


def batch_ways() -> int:
    """Into how many parts the rows of a batch are split; 1 where no mesh is set."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.prod(mesh.shape[name] for name in RULES["batch"])


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def place_batch(batch, sharding: NamedSharding):
    """Put this process's rows on its devices, as its part of the global batch. Returns without waiting for the copy."""
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, np.asarray(rows)), batch)


def check_batch(rows: int, accumulate: int, mesh: Mesh) -> None:
    """MeshError, with the remedy, unless the rows of a step split evenly over micro-batches and devices."""
    ways = math.prod(mesh.shape[name] for name in RULES["batch"])
    if rows % (accumulate * ways):
        raise MeshError(
            f"data.batch_size={rows} is not a multiple of {accumulate * ways} "
            f"({ways} devices along data and fsdp x {accumulate} micro-batches); "
            f"use {rows + -rows % (accumulate * ways)}, or another --mesh"
        )
