"""The codec: every noun survives JSON, and what does not fit is refused with the path of the value."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paritygate.core.cell import Cell, DtypePolicy, Mode
from paritygate.core.codec import canonical, from_json, readable, said, to_json
from paritygate.core.coverage import Coverage, CoveredGlue, Gap, Inspection, PartKind, Unexercised
from paritygate.core.drift import Diagnosis, Drift, Element, Judgement, Row, Verdict
from paritygate.core.errors import UsageError
from paritygate.core.family import Branch, Case, Family, Mechanism, Preset, Prompt, PromptRow, Side, WeightRule
from paritygate.core.golden import Golden, GoldenPort, TensorRef
from paritygate.core.run import RunInfo
from paritygate.core.site import Decision, Glue, Kind, Port, Site

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=8)
COUNT = st.integers(0, 99)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
JSON_ATOMS = st.booleans() | st.integers() | TEXT
FREE = st.dictionaries(TEXT, JSON, max_size=3)


def some(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(strategy, max_size=3).map(tuple)


def named(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.dictionaries(TEXT, strategy, max_size=3)


ELEMENTS = st.builds(Element, some(COUNT), FINITE, FINITE)
DRIFTS = st.builds(Drift, metrics=named(FINITE), scale=FINITE, worst=some(ELEMENTS), detail=TEXT)
JUDGEMENTS = st.builds(Judgement, TEXT, FINITE, FINITE, FINITE, FINITE, FINITE, TEXT, st.booleans())
PORTS = st.builds(Port, TEXT, st.sampled_from(Kind), TEXT, TEXT, TEXT, traits=some(TEXT), role=TEXT)
SITES = st.builds(
    Site,
    TEXT,
    TEXT,
    TEXT,
    some(PORTS),
    modes=some(st.sampled_from(Mode)),
    decisions=some(st.builds(Decision, TEXT, TEXT)),
)
SIDES = st.builds(Side, TEXT, named(TEXT), some(TEXT))
PRESETS = st.builds(
    Preset,
    TEXT,
    FREE,
    some(some(TEXT)),
    mechanisms=some(st.builds(Mechanism, TEXT, TEXT, FREE, named(FINITE), named(COUNT))),
)
PROMPTS = st.builds(Prompt, TEXT, some(st.builds(PromptRow, holes=some(COUNT))), COUNT)
RULES = st.builds(WeightRule, TEXT, st.sampled_from(["normal", "gain", "steered"]), FINITE, st.none() | COUNT)
TENSORS = st.builds(TensorRef, TEXT, TEXT, some(COUNT))
FLOORS = st.dictionaries(st.sampled_from(list(map(str, Mode))), named(named(FINITE)))
CASES = st.builds(Case, TEXT, TEXT, TEXT)

NOUNS = {
    Row: st.builds(
        Row, DRIFTS, st.sampled_from(Verdict), st.sampled_from(Diagnosis), some(JUDGEMENTS), TEXT, TEXT, TEXT
    ),
    DtypePolicy: st.builds(DtypePolicy, TEXT, TEXT, TEXT, TEXT, named(TEXT), st.booleans(), TEXT),
    Cell: st.builds(Cell),
    Family: st.builds(
        Family,
        TEXT,
        SIDES,
        SIDES,
        some(SITES),
        some(PRESETS),
        some(PROMPTS),
        some(RULES),
        named(some(TEXT)),
        glue=some(st.builds(Glue, TEXT, TEXT, TEXT, some(TEXT))),
        branches=some(st.builds(Branch, TEXT, some(JSON_ATOMS))),
    ),
    Golden: st.builds(
        Golden,
        CASES,
        FREE,
        named(TENSORS),
        named(TENSORS),
        some(
            st.builds(
                GoldenPort,
                kind=st.sampled_from(Kind),
                tensor=TENSORS,
                modes=some(st.sampled_from(Mode)),
                floors=FLOORS,
            )
        ),
        named(FINITE),
        FREE,
        TEXT,
    ),
    Inspection: st.builds(Inspection, TEXT, TEXT, some(TEXT), named(TENSORS), named(COUNT), named(COUNT)),
    Coverage: st.builds(
        Coverage,
        named(COUNT),
        some(st.builds(Gap, st.sampled_from(Verdict), st.sampled_from(PartKind), TEXT, TEXT, some(TEXT))),
        some(st.builds(CoveredGlue, TEXT, TEXT, TEXT, some(TEXT))),
        some(st.builds(Unexercised, TEXT, TEXT, JSON_ATOMS)),
    ),
    RunInfo: st.builds(RunInfo, goldens=named(TEXT), versions=named(TEXT), workers=some(FREE), wall_s=FINITE),
}


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
@given(data=st.data())
def test_a_noun_survives_json(noun: type, data: st.DataObject) -> None:
    value = data.draw(NOUNS[noun])
    for text in (canonical(value), readable(value)):
        read = from_json(noun, json.loads(text))
        assert read == value
        assert canonical(read) == canonical(value)


@given(st.dictionaries(st.text(), JSON), st.randoms())
def test_canonical_text_does_not_depend_on_the_order_of_keys(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical({key: value[key] for key in keys}) == canonical(value)
    assert canonical(value).isascii()


def test_canonical_and_readable_text() -> None:
    value = {"b": (1, Kind.MASK), "a": Cell("f64", "single", "cpu")}
    assert canonical(value) == '{"a":{"dtype":"f64","mesh":"single","platform":"cpu"},"b":[1,"mask"]}'
    assert readable({"ρ": [1]}) == '{\n "\\u03c1": [\n  1\n ]\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object, b"bytes"], ids=str)
def test_what_has_no_one_json_text_is_not_written(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical({"value": value})


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True)
class Inner:
    number: float = 0.0


@dataclass(frozen=True)
class Every:
    """One field of each type that a noun may use."""

    text: str
    whole: int = 0
    number: float = 0.0
    flag: bool = False
    size: Size = Size.SMALL
    word: Literal["this", "that"] = "this"
    pair: tuple[int, str] = (0, "")
    many: tuple[Inner, ...] = ()
    maybe: float | None = None
    either: int | str = 0
    nested: Inner | None = None
    named: Mapping[str, Inner] = field(default_factory=dict)
    by_size: Mapping[Size, int] = field(default_factory=dict)
    free: Any = None


def test_defaults_fill_what_is_left_out_and_a_whole_number_is_a_float() -> None:
    assert from_json(Every, {"text": "t"}) == Every("t")
    read = from_json(Every, {"text": "t", "number": 2, "maybe": 3})
    assert (type(read.number), type(read.maybe)) == (float, float)


def test_keys_are_decoded_too() -> None:
    read = from_json(Every, {"text": "t", "by_size": {"large": 1}})
    assert next(iter(read.by_size)) is Size.LARGE
    assert from_json(Every, json.loads(canonical(read))) == read


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "value does not fit: Every\n  expected  an object\n  got       list []"),
        ({}, "missing key: Every.text"),
        ({"text": "t", "txt": 1, "a": 2}, "unknown keys: Every\n  expected  by_size, either, "),
        ({"text": 1}, "value does not fit: Every.text\n  expected  str\n  got       int 1"),
        ({"text": None}, "value does not fit: Every.text\n  expected  str\n  got       NoneType None"),
        ({"text": "t", "whole": 1.0}, "value does not fit: Every.whole\n  expected  int\n  got       float 1.0"),
        ({"text": "t", "whole": True}, "value does not fit: Every.whole\n  expected  int\n  got       bool True"),
        ({"text": "t", "number": True}, "value does not fit: Every.number\n  expected  float\n  got       bool True"),
        ({"text": "t", "number": "1"}, "value does not fit: Every.number\n  expected  float\n  got       str '1'"),
        (
            {"text": "t", "number": 10**400},
            "value does not fit: Every.number\n  expected  a float\n  got       int 1000",
        ),
        ({"text": "t", "flag": 1}, "value does not fit: Every.flag\n  expected  bool\n  got       int 1"),
        ({"text": "t", "size": "huge"}, "value does not fit: Every.size\n  expected  small or large\n"),
        ({"text": "t", "size": []}, "value does not fit: Every.size\n  expected  small or large\n"),
        ({"text": "t", "word": "these"}, "value does not fit: Every.word\n  expected  'this' or 'that'\n"),
        ({"text": "t", "pair": [1]}, "value does not fit: Every.pair\n  expected  a list of 2\n"),
        ({"text": "t", "pair": "ab"}, "value does not fit: Every.pair\n  expected  a list\n"),
        ({"text": "t", "pair": ["a", 1]}, "value does not fit: Every.pair[0]\n  expected  int\n"),
        ({"text": "t", "many": [{}, {"number": ""}]}, "value does not fit: Every.many[1].number\n  expected  float\n"),
        ({"text": "t", "maybe": "1"}, "value does not fit: Every.maybe\n  expected  float\n"),
        ({"text": "t", "either": 1.5}, "value does not fit: Every.either\n  expected  int | str\n"),
        ({"text": "t", "nested": {"number": ""}}, "value does not fit: Every.nested.number\n  expected  float\n"),
        ({"text": "t", "named": []}, "value does not fit: Every.named\n  expected  an object\n"),
        ({"text": "t", "named": {"k": {"n": 1}}}, "unknown keys: Every.named.k\n  expected  number\n  got       n"),
        ({"text": "t", "by_size": {"huge": 1}}, "value does not fit: Every.by_size\n  expected  small or large\n"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(data: Any, text: str) -> None:
    with pytest.raises(UsageError) as refused:
        from_json(Every, data)
    assert str(refused.value).startswith(text)


def test_the_path_starts_where_the_caller_says() -> None:
    with pytest.raises(UsageError, match=r"^missing key: rows\.jsonl:7\.text$"):
        from_json(Every, {}, "rows.jsonl:7")


def test_a_long_value_is_cut_in_the_error() -> None:
    with pytest.raises(UsageError) as refused:
        from_json(Every, {"text": ["x" * 10_000]})
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("hint", [list[int], set[str], frozenset[int]], ids=str)
def test_a_type_that_the_codec_does_not_know_is_never_taken_unchecked(hint: Any) -> None:
    with pytest.raises(TypeError, match="is not known to this codec"):
        from_json(hint, ["not", "checked"])


def test_to_json_gives_plain_values_only() -> None:
    value = to_json(Every("t", pair=(1, "a"), many=(Inner(1.0),), by_size={Size.LARGE: 1}))
    assert value["by_size"] == {"large": 1} and type(value["size"]) is str
    assert value["pair"] == [1, "a"] and value["many"] == [{"number": 1.0}]


def test_said_leaves_out_what_is_at_its_default_at_every_depth() -> None:
    from paritygate.core.family import Prompt, PromptRow

    prompt = Prompt("p", (PromptRow(), PromptRow(pad_left=2)), 6, pieces=(5, 1), cache="dense")
    assert said(prompt) == {
        "name": "p",
        "rows": [{}, {"pad_left": 2}],
        "length": 6,
        "pieces": [5, 1],
        "cache": "dense",
    }
