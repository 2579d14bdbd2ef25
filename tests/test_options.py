"""Options and filters: what a user types becomes a checked model or one clear sentence."""

from typing import Literal

import pytest
from pydantic import Field

from sheaf.errors import UsageError
from sheaf.exports.options import Options, parse_pairs


class Wanted(Options):
    """A model with every kind of field that series use."""

    phases: list[Literal["Lag", "Growth"]] | None = None
    names: tuple[str, ...] = ()
    share: float = Field(default=0.5, ge=0, le=1)
    strict: bool = False
    title: str = ""


@pytest.mark.parametrize("given", ["Lag,Growth", "Lag, Growth", ["Lag", "Growth"], ["Lag,Growth"], ("Lag", "Growth")])
def test_a_list_may_be_written_with_commas_or_repeated(given: object) -> None:
    assert Wanted.of({"phases": given}, "filter").phases == ["Lag", "Growth"]


def test_text_is_read_as_what_the_field_is() -> None:
    found = Wanted.of({"share": "0.25", "strict": "yes", "title": "a,b", "names": "x"}, "option")
    assert (found.share, found.strict, found.title, found.names) == (0.25, True, "a,b", ("x",))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"phase": "Lag"}, "Unknown filter 'phase': known are phases, names, share, strict, title."),
        ({"share": "2"}, "Filter share='2' cannot be used: input should be less than or equal to 1."),
        ({"share": "much"}, "Filter share='much' cannot be used: "),
        ({"share": "nan"}, "Filter share='nan' cannot be used: "),
        ({"phases": "Lag,lag"}, "Filter phases='lag' cannot be used: input should be 'Lag' or 'Growth'."),
        ({"phases": 3}, "Filter phases=3 cannot be used: "),
        ({"names": [1]}, "Filter names=1 cannot be used: "),
        ({"title": ["a", "b"]}, "Filter title=['a', 'b'] cannot be used: "),
        ({"strict": None}, "Filter strict=None cannot be used: "),
    ],
)
def test_what_cannot_be_used_is_named_in_one_sentence(given: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        Wanted.of(given, "filter")
    assert str(error.value).startswith(complaint)
    assert "\n" not in str(error.value)


def test_a_model_without_fields_knows_none() -> None:
    with pytest.raises(UsageError, match=r"Unknown option 'x': known are none\."):
        Options.of({"x": "1"}, "option")


def test_spelling_out_a_default_changes_nothing() -> None:
    assert Wanted.of({"share": "0.5", "strict": "no"}, "option").is_default
    assert not Wanted.of({"strict": "yes"}, "option").is_default


def test_pairs_are_split_at_the_first_equals_sign_and_collected() -> None:
    assert parse_pairs(["a=1", "b=x=y", "c="], "filter") == {"a": "1", "b": "x=y", "c": ""}
    assert parse_pairs(["a=1", "a=2", "a=3"], "filter") == {"a": ["1", "2", "3"]}


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_a_pair_without_key_or_value_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="is not of the form key=value"):
        parse_pairs([pair], "option")
