"""Eight devices on one CPU, checked shapes, and JAX at its strictest, before anything imports JAX."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA's own passes run as ever; LLVM's over their result are left out, since most of the time of a test goes into compiling.
# What the user sets comes last, and wins.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 " + os.environ.get("XLA_FLAGS", "")
).strip()

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook(["model", "kernels"], "beartype.beartype")


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory):
    """Tests prepare their data in a folder of their own, never in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    previous = os.environ.get("LOUPE_CACHE")
    os.environ["LOUPE_CACHE"] = str(folder)
    yield folder
    if previous is None:
        del os.environ["LOUPE_CACHE"]
    else:
        os.environ["LOUPE_CACHE"] = previous
