"""Eight devices on one CPU, checked shapes, and JAX at its strictest, before anything imports JAX."""

import atexit
import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA's own passes run as ever; LLVM's over their result are left out, since most of the time of a test goes into compiling.
# The older way from a fusion to LLVM compiles in half the time; the release for Python 3.12 has it no more, and would
# refuse the word. A program is one module of LLVM's, since the cores are busy anyhow. What the user sets comes last, and wins.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1 "
    + ("--xla_cpu_use_fusion_emitters=false " if metadata.version("jaxlib").startswith("0.10.") else "")
    + os.environ.get("XLA_FLAGS", "")
).strip()

# What is compiled once is compiled for both workers, for the commands that tests start, and, where the caller names the folder,
# for several sessions. The first process makes it, and takes it away.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="loupe-compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")

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

# What the tests of a folder may take: seconds of processor time, on the machine that .ci/run is timed on. The sum is twice the
# minutes of `pytest`, which works on two cores.
BUDGET = {
    "tests": 70,
    "tests/data": 80,
    "tests/experiments": 10,
    "tests/fuzz": 40,
    "tests/kernels": 30,
    "tests/model": 300,
    "tests/train": 360,
}
SPENT = pytest.StashKey[float]()
spent: Counter[str] = Counter()  # by the path of the file
counted: Counter[str] = Counter()

gc.set_threshold(
    50_000, 20, 20
)  # tracing makes many small objects, few of them in circles: a tenth of the time went into looking
jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook(["model", "kernels"], "beartype.beartype")


def pytest_collection_modifyitems(items):
    """Files that take long come first, so that two workers, which take whole files in this order, end together."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent not in (here / "train", here))


def processor_seconds() -> float:
    """What this process took so far with all its threads, and the commands that it waited for."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    item.stash[SPENT] = processor_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """The last report of a test says what it took, with what it set up and took down."""
    if call.when == "teardown":
        item.user_properties.append(("processor_seconds", processor_seconds() - item.stash[SPENT]))
    return (yield)


def pytest_runtest_logreport(report):
    for name, value in report.user_properties:
        if name == "processor_seconds":
            file = report.nodeid.partition("::")[0]
            spent[file] += value
            counted[file] += 1


def pytest_terminal_summary(terminalreporter, config):
    """What each folder took beside what it may, so that whoever adds a test sees what it costs."""
    if len(spent) < 2 or hasattr(config, "workerinput"):
        return
    default = "not slow" in config.option.markexpr
    terminalreporter.section("processor time by folder")
    for folder in sorted({folder_of(file) for file in spent}):
        files = {file: seconds for file, seconds in spent.items() if folder_of(file) == folder}
        took, tests = sum(files.values()), sum(counted[file] for file in files)
        most = max(files, key=files.__getitem__)
        line = f"{folder:<18} {took:7.0f} s {tests:6} tests, most in {most} ({files[most]:.0f} s)"
        allowed = BUDGET.get(folder)
        over = default and (allowed is None or took > allowed)
        if default:
            line += f", of {allowed} s" if allowed else ", and has no budget"
        terminalreporter.write_line(line + (" OVER BUDGET" if over else ""), red=over)
    terminalreporter.write_line(f"{'all':<18} {sum(spent.values()):7.0f} s {sum(counted.values()):6} tests")


def folder_of(file: str) -> str:
    """tests/model/inspection/test_lens.py counts for tests/model."""
    return "/".join(file.split("/")[:-1][:2])


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
