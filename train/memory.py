"""Keep freed memory in the process: a tenth of a training step on a CPU is page faults otherwise."""

import ctypes
import importlib.util
import os
import sys

# From <malloc.h> of glibc.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
ACCELERATOR_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "jax_plugins", "libtpu")


def keep_freed_memory() -> bool:
    """Tell glibc's malloc not to give memory back to the system; True where that was done. Call it before JAX is imported.

    XLA on a CPU allocates the temporaries of a step anew each time, 700 MB for BERT-small at 16 x 128. By default malloc maps
    so large a block from the system and unmaps it after the step, and the next step pays 180,000 page faults for fresh
    zeroed pages: 0.3 s of two cores, 10 to 20% of the step. With this the block stays, at the price of a larger resident
    size (a third more was seen). Values do not change.

    Only on Linux with glibc, and only where JAX will compute on the CPU: elsewhere the temporaries live on the device.
    """
    if not sys.platform.startswith("linux") or not computes_on_cpu():
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False  # another C library
    # One arena: the heaps of the others, which threads get, cannot hold a block of this size and would map it after all.
    return all(mallopt(*setting) for setting in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1)))


def computes_on_cpu() -> bool:
    """Whether JAX will choose the CPU, judged without importing it: by JAX_PLATFORMS, or by the plugins installed."""
    if platforms := os.environ.get("JAX_PLATFORMS", ""):
        return platforms.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in ACCELERATOR_PLUGINS)
