"""The tree of fields, on dataclasses that have nothing to do with transformers."""

from dataclasses import dataclass
from typing import Literal

import pytest

from train.overrides import overridden
from train.tree import Choice, differences, fields_of, put_together, take_apart


@dataclass(frozen=True)
class Round:
    radius: float = 1.0
    colour: str = "red"


@dataclass(frozen=True)
class Square:
    side: float
    colour: str = "blue"

    def __post_init__(self):
        if self.side <= 0:
            raise ValueError(f"side={self.side} must be positive")


@dataclass(frozen=True)
class Sticker:
    text: str | None = None


@dataclass(frozen=True)
class Box:
    shape: Round | Square = Round()
    sticker: Sticker | None = None
    others: tuple[Round, ...] = (Round(2.0),)
    sizes: tuple[int, ...] = (1, 2)
    kind: Literal["open", "shut"] = "open"

    def __post_init__(self):
        if self.kind == "shut" and self.sticker is None:
            raise ValueError("a shut box needs a sticker")


def changed(box: Box = Box(), /, **changes: str | None) -> Box:
    return overridden(box, {path.replace("__", "."): text for path, text in changes.items()}, known=())


def test_fields_come_in_the_order_of_declaration_and_choices_before_what_they_hold():
    fields = fields_of(take_apart(Box()))
    assert list(fields) == ["shape", "shape.radius", "shape.colour", "sticker", "others", "sizes", "kind"]
    assert isinstance(fields["sticker"], Choice) and list(fields["sticker"].options) == ["sticker", "none"]
    assert put_together(take_apart(Box())) == Box()


def test_a_swap_keeps_what_fits_and_asks_for_what_is_missing():
    box = changed(shape__name="square", shape__side="3")
    assert box.shape == Square(side=3.0, colour="red")
    with pytest.raises(ValueError, match=r"^square needs --shape\.side$"):
        changed(shape__name="square")
    with pytest.raises(ValueError, match=r"^shape\.side=-1\.0 must be positive$"):
        changed(shape__name="square", shape__side="-1")


def test_a_choice_that_may_be_none():
    assert changed(sticker__name="sticker", sticker__text="hi").sticker == Sticker("hi")
    assert changed(sticker="sticker").sticker == Sticker()
    assert changed(Box(sticker=Sticker("hi")), sticker="none").sticker is None
    with pytest.raises(
        ValueError, match=r"--sticker\.text is a field of sticker \(sticker is none\); add --sticker\.name"
    ):
        changed(sticker__text="hi")


def test_only_the_final_values_are_checked():
    assert changed(kind="shut", sticker="sticker").kind == "shut"
    with pytest.raises(ValueError, match=r"^a shut box needs a sticker$"):
        changed(kind="shut")


def test_tuples_of_words_are_set_as_python_writes_them_and_tuples_of_values_not_at_all():
    assert changed(sizes="(3, 4, 5)").sizes == (3, 4, 5)
    assert changed(sizes="3,4").sizes == (3, 4)
    with pytest.raises(ValueError, match=r"--sizes 3\.5,x: expected"):
        changed(sizes="3.5,x")
    with pytest.raises(ValueError, match="--others 3: expected"):
        changed(others="3")


def test_differences_stand_beside_their_like():
    old, new = Box(), Box(shape=Square(1.0), kind="shut", sticker=Sticker())
    paths = [path for path, _, _ in differences(old, new)]
    assert paths == ["shape.name", "shape.radius", "shape.colour", "shape.side", "sticker.name", "sticker.text", "kind"]
    assert ("shape.radius", "1.0", "absent") in differences(old, new)
    assert ("sticker.name", "none", "sticker") in differences(old, new)
