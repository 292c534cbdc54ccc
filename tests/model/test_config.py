"""A config survives JSON; a wrong one is refused in one line that says what to do."""

import dataclasses
import json
import pathlib

import pytest

from model.attention import MultiHead
from model.config import TransformerConfig, choice_name, from_json, to_json
from model.families import bert, t5, vit
from model.initializers import Mimetic, OffsetHeads, Scaled
from model.mlp import GatedMLP, PlainMLP
from model.norms import RMSNorm
from model.positions import SinusoidalPositions
from model.rotary import Rotary
from model.stack import Stack


@dataclasses.dataclass(frozen=True)
class Everything:
    ratio: float
    path: pathlib.Path
    pairs: tuple[tuple[str, float], ...] = ()
    limit: int | None = None
    either: int | float = 1
    words: dict[str, int] = dataclasses.field(default_factory=dict)
    inner: "PlainMLP | GatedMLP | None" = None
    stack: Stack = Stack()


CONFIGS = [
    *(bert.config(size) for size in bert.SIZES),
    bert.config(
        "tiny",
        norm_placement="pre",
        norm=RMSNorm(),
        mlp=GatedMLP(300),
        positions=SinusoidalPositions(),
        attention=MultiHead(4, num_kv_heads=2, head_size=16, bias=False),
        stack=Stack("unroll", "dots_saveable"),
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_json_both_ways(config):
    assert from_json(TransformerConfig, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    "value",
    [
        Everything(1.0, pathlib.Path("a/b")),
        Everything(
            float("inf"), pathlib.Path("."), (("a", 0.5), ("b", 2.0)), 3, 2.5, {"x": 1}, GatedMLP(8), Stack("unroll")
        ),
        Everything(0.1, pathlib.Path("."), either=7, inner=PlainMLP(8)),
    ],
)
def test_any_tree_of_dataclasses(value):
    again = from_json(Everything, json.loads(json.dumps(to_json(value))))
    assert again == value and type(again.either) is type(value.either)


def test_choices_carry_their_name_and_may_leave_out_defaults():
    written = to_json(bert.config("tiny"))
    assert written["norm"] == {"name": "layer_norm", "epsilon": 1e-12, "bias": True} and "name" not in written
    written["norm"] = {"name": "rms_norm"}
    del written["stack"]
    assert from_json(TransformerConfig, written).norm == RMSNorm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layer": 2}, r"TransformerConfig has no field 'num_layer'; did you mean 'num_layers'\?"),
        (
            {"norm": {"name": "rms_nrm"}},
            r"norm: 'rms_nrm' is not one of layer_norm, rms_norm; did you mean 'rms_norm'\?",
        ),
        ({"stack": {"name": "stack", "loop": "scna"}}, r"stack.loop: 'scna' is not one of .*did you mean 'scan'\?"),
        ({"num_layers": 2.5}, "num_layers: expected int, found 2.5"),
        ({"num_layers": True}, "num_layers: expected int, found True"),
        ({"dropout_rate": "0.1"}, "dropout_rate: expected float, found '0.1'"),
        ({"attention": 3}, "attention: expected the fields of MultiHead, found 3"),
        ({"attention": {"name": "multi_tail", "num_heads": 2}}, "attention: 'multi_tail' is not 'multi_head'"),
    ],
)
def test_errors_name_the_place_and_the_nearest_word(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_json(TransformerConfig, to_json(bert.config("tiny")) | change)
    assert "\n" not in str(caught.value)


def test_missing_field():
    written = to_json(bert.config("tiny"))
    del written["mlp"]
    with pytest.raises(ValueError, match="TransformerConfig needs the field 'mlp'"):
        from_json(TransformerConfig, written)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MultiHead(12, num_kv_heads=5),
            "num_heads=12 is not a multiple of num_kv_heads=5; use 1, 2, 3, 4, 6 or 12",
        ),
        (lambda: MultiHead(0), "num_heads=0 must be at least 1"),
        (lambda: MultiHead(2, dropout_rate=1.0), r"dropout_rate=1.0 must lie in \[0, 1\)"),
        (
            lambda: bert.config("tiny", hidden_size=130, attention=MultiHead(4)),
            "hidden_size=130 is not a multiple of num_heads=4",
        ),
        (lambda: bert.config("tiny", num_layers=0), "num_layers=0 must be at least 1"),
        (lambda: bert.config("huge"), "BERT has no size 'huge'; use one of tiny, mini, small"),
        (lambda: PlainMLP(0), "intermediate_size=0 must be at least 1"),
        (lambda: Scaled(0), "head_size=0 of the initializer must be at least 1"),
        (lambda: OffsetHeads(score=0.0), "score=0.0 must be more than 0"),
        (
            lambda: bert.config("tiny", initializer=OffsetHeads(), positions=Rotary()),
            "use initializer truncated_normal",
        ),
        (lambda: bert.config("tiny", initializer=OffsetHeads(), embedding_size=64), "as wide as the model"),
        (lambda: vit.config("base", initializer=OffsetHeads()), "learned positions of text"),
        (lambda: Mimetic(64, slope=-0.5), "slope=-0.5 must be at least 0"),
        (
            lambda: t5.config("tiny", initializer=Mimetic(32)),
            "initializer.head_size=32 is not the size of a head, 64; set initializer.head_size to 64 as well",
        ),
        (
            lambda: t5.config("tiny", initializer=Mimetic(64), positions=Rotary()),
            "use initializer scaled, or positions",
        ),
        (
            lambda: t5.config(
                "tiny", initializer=Mimetic(64), attention=MultiHead(2, head_size=64, norm_query_key=True)
            ),
            "norm_query_key would undo the scores",
        ),
    ],
)
def test_impossible_shapes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_of_choices():
    assert [choice_name(c) for c in (MultiHead, GatedMLP, RMSNorm)] == ["multi_head", "gated_mlp", "rms_norm"]
