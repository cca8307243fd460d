from dataclasses import MISSING, dataclass, fields

import pytest

from model.option_fields import (
    option,
    option_fields,
    parse_floats,
    parse_integers,
    parse_words,
    select_options,
)


@dataclass(frozen=True, kw_only=True)
class Drink:
    name: str = option("tea", "what to drink", choices=("tea", "milk"))
    cups: int = option(2, "how many", metavar="N", minimum=1, maximum=9)


@dataclass(frozen=True, kw_only=True)
class Meal(Drink):
    place: str = option(MISSING, "where", shapes_output=False)
    guests: tuple[str, ...] = ()


def test_an_option_is_a_field_with_its_help_and_range() -> None:
    name, cups = option_fields(Drink)
    assert Drink() == Drink(name="tea", cups=2)
    assert (name.metadata["help"], name.metadata["choices"]) == ("what to drink", ("tea", "milk"))
    assert (cups.metadata["metavar"], cups.metadata["minimum"], cups.metadata["maximum"]) == ("N", 1, 9)
    assert (name.metadata["minimum"], name.metadata["parse"]) == (None, None)


def test_fields_that_are_no_options_are_left_out() -> None:
    assert [one.name for one in fields(Meal)] == ["name", "cups", "place", "guests"]
    assert [one.name for one in option_fields(Meal(place="here"))] == ["name", "cups", "place"]
    assert [one.metadata["shapes_output"] for one in option_fields(Meal)] == [True, True, False]


def test_an_option_without_a_default_is_required() -> None:
    with pytest.raises(TypeError, match="place"):
        Meal()  # type: ignore[call-arg]


def test_a_part_is_a_record_of_its_own() -> None:
    meal = Meal(place="here", cups=5, guests=("Ann",))
    assert select_options(meal, Drink) == Drink(cups=5)
    assert select_options(meal, Meal) == Meal(place="here", cups=5)  # guests are no option


@pytest.mark.parametrize(
    ("text", "words"), [("a,b", ("a", "b")), (" a , b,a", ("a", "b")), ("", ("",)), ("a", ("a",))]
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert parse_words(text) == words


def test_numbers() -> None:
    assert parse_floats("0,0.5,1e-3") == (0.0, 0.5, 0.001)
    assert parse_integers("-1, 50,") == (-1, 50)
    with pytest.raises(ValueError, match="x"):
        parse_floats("0,x")
