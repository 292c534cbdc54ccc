"""The planted circuit, and what a model and its sites are for one batch."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def planted():
    """The module planted.py beside this file: `planted.planted_induction()`, `planted.repeated_tokens()`, ..."""
    source = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
    assert source is not None and source.loader is not None
    module = importlib.util.module_from_spec(source)
    sys.modules[source.name] = module
    source.loader.exec_module(module)
    return module
