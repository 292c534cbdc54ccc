"""Mixout: at each step a share of every weight matrix of the layers stands where it began (Lee et al., arXiv:1909.11299).

    mixed = origin + dropout(weights - origin)

is their equation for a mixture whose mean is `weights`. With an origin of zero it is dropout of weights. Only the matrices of
layers are mixed: embeddings, biases and norms are not, nor is a head, which has no origin worth going back to.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32

from kernels.dropout import dropout, fold
from train.optimizers import STACKED
from train.sharding import dotted

Params = dict[str, Any]


def matrices_of_layers(params: Params, inside: bool = False) -> Params:
    """The part of a tree of parameters that is mixed: the kernels [L, ...] of stacks of layers.

    >>> matrices_of_layers({"embeddings": {"kernel": 1}, "layers": {"mlp": {"up": {"kernel": 2, "bias": 3}}}})
    {'layers': {'mlp': {'up': {'kernel': 2}}}}
    """
    found: Params = {}
    for name, value in params.items():
        if isinstance(value, dict):
            if below := matrices_of_layers(value, inside or name == STACKED):
                found[name] = below
        elif inside and name == "kernel":
            found[name] = value
    return found


def mixed(params: Params, origin: Params, rate: float, key: UInt32[Array, ""]) -> Params:
    """The parameters, those of `origin` mixed with it: each element is there with probability `rate`, the others lie as much
    farther from it as keeps the mean. `key` draws them; they do not depend on the mesh.
    """
    begun = {dotted(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(origin)}

    def mix(path: Any, weights: Array) -> Array:
        name = dotted(path)
        if name not in begun:
            return weights
        layers = jnp.arange(weights.shape[0])
        keys = fold(fold(key, zlib.crc32(name.encode())), layers)
        return begun[name] + dropout(weights - begun[name], rate, keys)

    return jax.tree_util.tree_map_with_path(mix, params)
