"""Eight devices on one CPU, checked shapes, and JAX at its strictest, before anything imports JAX."""

import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA's own passes run as ever; LLVM's over their result are left out, since most of the time of a test goes into compiling.
# The older way from a fusion to LLVM compiles in half the time; the release for Python 3.12 has it no more, and would
# refuse the word. What the user sets comes last, and wins.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    + ("--xla_cpu_use_fusion_emitters=false " if metadata.version("jaxlib").startswith("0.10.") else "")
    + os.environ.get("XLA_FLAGS", "")
).strip()

import jax
import pytest
from jaxtyping import install_import_hook

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook(["model", "kernels"], "beartype.beartype")


def pytest_collection_modifyitems(items):
    """Files that take long come first, so that two workers, which take whole files in this order, end together."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent not in (here / "train", here))


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


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Chromium of the system, driven by Playwright; a skip that says so where one of them is absent."""
    api = pytest.importorskip("playwright.sync_api", reason="NO VIEW IS LOOKED AT: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("NO VIEW IS LOOKED AT: there is no chromium; apt-get install chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield chromium
        chromium.close()
