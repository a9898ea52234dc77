"""Choosing from the catalog: cell expressions, cases by suite, id and glob, near matches for wrong names."""

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paritygate.catalog import select
from paritygate.catalog.select import DEFAULT_CELLS, select_cases, select_cells, suite_of, suites
from paritygate.core.cell import FOLLOWING, Cell, DtypePolicy
from paritygate.core.errors import UsageError
from paritygate.core.family import Case

DTYPES = ("bf16", "f16", "f32", "f64")
EMULATED = (
    "bf16@e4m3-channel", "bf16@e4m3-tensor", "bf16@e4m3-weights", "bf16@int8-weights", "f16@f16-accumulate",
    "f32@bf16x1", "f32@bf16x3", "f32@bf16x6", "f32@tf32",
)  # fmt: skip


def cells(expression: str) -> list[str]:
    return list(map(str, select_cells(expression)))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("f64", ["f64/single/cpu"]),
        ("f64,bf16", ["f64/single/cpu", "bf16/single/cpu"]),
        ("f64 x single", ["f64/single/cpu"]),
        ("f32,f16 x single x cpu,gpu", ["f32/single/cpu", "f32/single/gpu", "f16/single/cpu", "f16/single/gpu"]),
        ("bf16/single/tpu", ["bf16/single/tpu"]),
        ("  f64 , f32  x  single ", ["f64/single/cpu", "f32/single/cpu"]),
        ("f64; bf16 x single x gpu", ["f64/single/cpu", "bf16/single/gpu"]),
        ("f64,f64;f64/single", ["f64/single/cpu"]),
        (DEFAULT_CELLS, ["f64/single/cpu", "f32/single/cpu", "f16/single/cpu", "bf16/single/cpu"]),
    ],
)
def test_expressions(expression: str, expected: list[str]) -> None:
    assert cells(expression) == expected


@given(
    st.lists(st.sampled_from(DTYPES), min_size=1, unique=True),
    st.lists(st.sampled_from(select.PLATFORMS), min_size=1, unique=True),
)
def test_an_expression_is_the_product_in_the_order_written(dtypes: list[str], platforms: list[str]) -> None:
    found = select_cells(f"{','.join(dtypes)} x single x {','.join(platforms)}")
    assert found == [Cell(dtype, "single", platform) for dtype, platform in itertools.product(dtypes, platforms)]


@pytest.mark.parametrize(
    "expression", ["", " ", ",", "f64,", "f64 x single x cpu x cpu", "f64;", "f64//cpu", "a/b/c/d"]
)
def test_bad_expressions(expression: str) -> None:
    with pytest.raises(UsageError) as refused:
        select_cells(expression)
    assert str(refused.value) == f"bad cell expression: {expression!r}\n  expected  {DEFAULT_CELLS!r}"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("bf61", "unknown dtype policy: bf61\n  expected  one of bf16, bf16-wide, "),
        ("f64 x singel", "unknown mesh layout: singel\n  expected  one of dp2, dp2sp2tp2, "),
        ("f64 x tp0", "unknown mesh layout: tp0\n  expected  one of dp2, dp2sp2tp2, "),
        ("f64 x single x cqu", "unknown platform: cqu\n  expected  one of cpu, gpu, tpu\n  try       did you mean "),
        ("f64 x cpu", "unknown mesh layout: cpu\n  expected  one of dp2, "),
        ("BF16", "unknown dtype policy: BF16\n  expected  one of bf16, bf16-wide, "),
    ],
)
def test_unknown_names_in_an_expression(expression: str, text: str) -> None:
    with pytest.raises(UsageError) as refused:
        select_cells(expression)
    assert str(refused.value).startswith(text)


@pytest.mark.parametrize("text", ["f64/single/cpu", "bf16/tp4/gpu"])
def test_a_cell_is_read_as_it_is_written(text: str) -> None:
    assert str(Cell.parse(text)) == text


@pytest.mark.parametrize("text", ["", "f64", "f64/single", "f64//cpu", "f64/single/cpu/more", "/single/cpu"])
def test_bad_cells(text: str) -> None:
    with pytest.raises(UsageError, match=r"^bad cell: .*\n  expected  dtype/mesh/platform, such as bf16/single/cpu$"):
        Cell.parse(text)


def test_the_dtype_of_a_role() -> None:
    policy = DtypePolicy("p", compute="bfloat16", island="float32", peer="", roles={"rope": "float64"})
    assert [policy.dtype(role) for role in ("compute", "norm", "rope")] == ["bfloat16", "float32", "float64"]
    assert [policy.dtype(role) for role in FOLLOWING] == ["bfloat16"] * len(FOLLOWING)
    wide = DtypePolicy("p", compute="bfloat16", island="float32", peer="", roles={"residual": "float32"})
    assert [wide.dtype(role) for role in ("residual", "logits", "compute")] == ["float32", "bfloat16", "bfloat16"]
    whole = DtypePolicy("p", compute="bfloat16", island="float32", peer="", roles={"compute": "float16"})
    assert whole.dtype("compute") == "float16"


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, tuple[str, ...]]]:
    """Two families, suites by family; a test may change them."""
    held: dict[str, dict[str, tuple[str, ...]]] = {
        "llama4": {"tiny": ("scout.long", "scout.padded", "maverick.long"), "nightly": ("scout.long", "scout.far")},
        "toy": {"toy": ("toy-2.plain",)},
    }
    monkeypatch.setattr(
        select, "families", lambda: {name: SimpleNamespace(name=name, suites=held[name]) for name in held}
    )
    return held


def test_a_presets_name_selects_its_cases(catalog: dict[str, dict[str, tuple[str, ...]]]) -> None:
    assert ids(select.select_cases("scout")) == ["scout.long", "scout.padded", "scout.far"]
    assert ids(select.select_cases("scout", "nightly")) == ["scout.long", "scout.far"]
    assert ids(select.select_cases("toy-2")) == ["toy-2.plain"]


def ids(cases: list[Case]) -> list[str]:
    return [case.id for case in cases]


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize(
    ("text", "suite", "expected"),
    [
        ("tiny", None, ["scout.long", "scout.padded", "maverick.long"]),
        ("scout.padded", None, ["scout.padded"]),
        ("*.long", None, ["scout.long", "maverick.long"]),
        ("scout.*", None, ["scout.long", "scout.padded", "scout.far"]),
        ("scout.*", "nightly", ["scout.long", "scout.far"]),
        ("*", "tiny", ["scout.long", "scout.padded", "maverick.long"]),
        ("toy-[0-9].plain", None, ["toy-2.plain"]),
    ],
)
def test_cases_by_suite_id_and_glob(text: str, suite: str | None, expected: list[str]) -> None:
    assert ids(select_cases(text, suite)) == expected


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize(
    ("text", "suite", "said"),
    [
        (
            "tinny",
            None,
            "unknown suite, preset or case: tinny\n  expected  one of maverick, maverick.long, ",
        ),
        ("scout.log", None, "unknown suite, preset or case: scout.log\n"),
        ("tiny", "tniy", "unknown suite: tniy\n  expected  one of nightly, tiny, toy\n  try       did you mean tiny "),
        ("scout.far", "tiny", "unknown suite, preset or case: scout.far\n"),
        ("Scout.*", None, "unknown suite, preset or case: Scout.*\n"),
    ],
)
def test_unknown_suites_and_cases(text: str, suite: str | None, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        select_cases(text, suite)
    assert str(refused.value).startswith(said)
    assert "did you mean" in refused.value.try_


def test_a_suite_may_have_cases_of_several_families(catalog: dict[str, dict[str, tuple[str, ...]]]) -> None:
    catalog["toy"]["nightly"] = ("toy-2.plain",)
    assert [(case.family, case.id) for case in suites()["nightly"]] == [
        ("llama4", "scout.long"),
        ("llama4", "scout.far"),
        ("toy", "toy-2.plain"),
    ]


def test_a_case_of_a_suite_belongs_to_one_family(catalog: dict[str, dict[str, tuple[str, ...]]]) -> None:
    catalog["toy"]["tiny"] = ("toy-2.plain", "scout.long")
    with pytest.raises(UsageError, match=r"^two families have one case: suite tiny\n  got       scout.long$"):
        suites()


def test_a_golden_lives_in_the_first_suite_that_has_its_case(
    catalog: dict[str, dict[str, tuple[str, ...]]],
) -> None:
    assert suite_of(Case("llama4", "scout", "long")) == "tiny"
    assert suite_of(Case("llama4", "scout", "far")) == "nightly"
    with pytest.raises(UsageError, match=r"^unknown case: toy-2\.long\n"):
        suite_of(Case("toy", "toy-2", "long"))


def test_the_catalog_of_this_package() -> None:
    assert set(select.policies()) == {*DTYPES, *EMULATED, "bf16-wide", "mixed"}
    assert {cell.dtype for cell in select.select_cells("all-dtypes x single x cpu")} == set(select.policies())
    assert {cell.dtype for cell in select.select_cells(select.DEFAULT_CELLS)} == set(DTYPES)
    for name, policy in select.policies().items():
        assert ("@" in name) == bool(policy.matmul)
        assert policy.floor in ("", *DTYPES), "a floor is borrowed from a policy that has a peer"
        assert policy.plain in DTYPES, "the budgets name it"
        assert policy.peer == select.policies()[policy.judged_as].peer == select.policies()[policy.plain].peer
    assert {name for name, policy in select.policies().items() if not policy.peer} == {"f64"}
    for name, cases in suites().items():
        assert cases, name
        for case in cases:
            family = select.families()[case.family]
            family.sites_of(family.preset(case.preset))
            family.prompt(case.prompt)
