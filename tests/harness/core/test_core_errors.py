"""The text of errors: four short lines, both sides, near matches; and the exit code of each kind."""

import pytest

from paritygate.core.errors import (
    ExitCode,
    GoldenError,
    HarnessError,
    InfrastructureError,
    NothingComparedError,
    UsageError,
    unknown_name,
)


def test_four_lines_in_order() -> None:
    error = UsageError(
        "shape does not fit", where="layers.3.attn:out", expected="(2, 8)", got="(8, 2)", try_="paritygate show"
    )
    assert str(error) == (
        "shape does not fit: layers.3.attn:out\n  expected  (2, 8)\n  got       (8, 2)\n  try       paritygate show"
    )
    assert error.args == (str(error),)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "it broke"),
        ({"where": "here"}, "it broke: here"),
        ({"got": "3"}, "it broke\n  got       3"),
        ({"where": "here", "try_": "again"}, "it broke: here\n  try       again"),
    ],
)
def test_lines_without_content_are_left_out(parts: dict[str, str], text: str) -> None:
    assert str(HarnessError("it broke", **parts)) == text


def test_exit_codes() -> None:
    assert {error: error.exit_code for error in HarnessError.__subclasses__()} == {
        UsageError: ExitCode.USAGE,
        GoldenError: ExitCode.GOLDEN,
        InfrastructureError: ExitCode.INFRASTRUCTURE,
        NothingComparedError: ExitCode.NOTHING_COMPARED,
    }
    assert HarnessError.exit_code is ExitCode.INFRASTRUCTURE
    assert list(map(int, ExitCode)) == [0, 1, 2, 3, 4, 5, 130, 143]


def test_an_unknown_name_comes_with_what_there_is_and_what_is_near() -> None:
    assert str(unknown_name("metric", "rel_l3", ["rel_l2", "kl", "cosine"])) == (
        "unknown metric: rel_l3\n  expected  one of cosine, kl, rel_l2\n  try       did you mean rel_l2?"
    )


def test_at_most_three_near_names_nearest_first() -> None:
    error = unknown_name("suite", "tiny", ["tiny1", "tiny-ab", "tiny-abc", "tiny-a", "other"])
    assert error.try_ == "did you mean tiny1 or tiny-a or tiny-ab?"


def test_nothing_near_and_nothing_at_all() -> None:
    assert str(unknown_name("metric", "zzz", ["kl"])) == "unknown metric: zzz\n  expected  one of kl"
    assert str(unknown_name("fault", "rope", [])) == "unknown fault: rope\n  expected  none, for there are none"
    assert unknown_name("fault", "rope", []).exit_code is ExitCode.USAGE
