"""Exit codes and counts."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_rows import BF16, F64, row

from paritygate.core.coverage import Gap, PartKind
from paritygate.core.drift import Diagnosis, Row, Verdict
from paritygate.core.errors import ExitCode
from paritygate.judge.gate import exit_code, summary

PASS, SKIPPED = Verdict.PASS, Verdict.SKIPPED
DIFFERS = (Verdict.OVER_BUDGET, Verdict.REGRESSED, Verdict.NONFINITE, Verdict.MISMATCH)


def rows(*verdicts: Verdict, reason: str = "stated") -> list[Row]:
    return [row(f"s{i}:out", verdict, order=i, reason=reason) for i, verdict in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("verdicts", "problems", "code"),
    [
        ((PASS,), (), ExitCode.PASS),
        ((PASS, SKIPPED), (), ExitCode.PASS),
        ((), (), ExitCode.NOTHING_COMPARED),
        ((SKIPPED,), (), ExitCode.NOTHING_COMPARED),
        ((Verdict.MISSING, Verdict.MISSING), (), ExitCode.NOTHING_COMPARED),
        ((Verdict.MISSING, SKIPPED), (), ExitCode.NOTHING_COMPARED),
        ((PASS, Verdict.MISSING), (), ExitCode.DRIFT),
        ((PASS, Verdict.ERROR), (), ExitCode.DRIFT),
        ((Verdict.ERROR,), (), ExitCode.DRIFT),
        ((), ("worker died",), ExitCode.INFRASTRUCTURE),
        ((PASS,), ("worker died",), ExitCode.INFRASTRUCTURE),
        ((PASS, Verdict.MISSING), ("worker died",), ExitCode.INFRASTRUCTURE),
        ((Verdict.MISSING,), ("worker died",), ExitCode.INFRASTRUCTURE),
        ((PASS, Verdict.ERROR), ("worker died",), ExitCode.INFRASTRUCTURE),
        *(((PASS, verdict), (), ExitCode.DRIFT) for verdict in DIFFERS),
        *(((verdict, Verdict.MISSING), ("worker died",), ExitCode.DRIFT) for verdict in DIFFERS),
    ],
)
def test_exit_code(verdicts, problems, code):
    assert exit_code(rows(*verdicts), problems) is code


def test_a_skip_without_a_reason_is_no_pass():
    assert exit_code([*rows(PASS), *rows(SKIPPED, reason=" ")], ()) is ExitCode.DRIFT


GAP = Gap(Verdict.MISSING, PartKind.MODULE, "layers.0.up", "no site stands for it", ("toy.short",))


@pytest.mark.parametrize(
    ("verdicts", "problems", "code"),
    [
        ((PASS,), (), ExitCode.DRIFT),
        ((PASS, SKIPPED), (), ExitCode.DRIFT),
        ((Verdict.OVER_BUDGET,), (), ExitCode.DRIFT),
        ((PASS,), ("worker died",), ExitCode.INFRASTRUCTURE),  # it may be why the candidate was not inspected
        ((Verdict.MISSING,), (), ExitCode.NOTHING_COMPARED),
    ],
)
def test_a_gap_in_coverage_is_no_pass(verdicts, problems, code):
    assert exit_code(rows(*verdicts), problems, [GAP]) is code


def test_rows_and_problems_may_be_read_once_only():
    assert exit_code(iter(rows(PASS)), iter(())) is ExitCode.PASS
    assert summary(iter(rows(PASS))).passed == 1


@given(st.lists(st.sampled_from(list(Verdict))), st.booleans(), st.booleans())
def test_only_passes_and_stated_skips_give_0(verdicts, has_problem, has_reasons):
    code = exit_code(rows(*verdicts, reason="r" if has_reasons else ""), ["worker died"] if has_problem else [])
    allowed = {PASS, SKIPPED} if has_reasons else {PASS}
    assert (code is ExitCode.PASS) == (PASS in verdicts and set(verdicts) <= allowed and not has_problem)


def test_summary_counts():
    made = [
        row("a:out", PASS, cell=F64),
        row("b:out", PASS, cell=F64, mode="chained", accepted="known"),
        row("a:out", Verdict.OVER_BUDGET, cell=BF16),
        row("b:out", Verdict.MISSING, cell=BF16),
        row("c:out", SKIPPED, cell=BF16, reason="stated"),
        row("d:out", SKIPPED, cell=BF16, case="toy.long"),
    ]
    made[2] = Row(made[2].drift, Verdict.OVER_BUDGET, Diagnosis.PRECISION)
    found = summary(made)
    assert (found.rows, found.passed, found.failed, found.skipped, found.accepted) == (6, 2, 3, 1, 1)
    assert found.verdicts == {"pass": 2, "over_budget": 1, "missing": 1, "skipped": 2}
    assert found.diagnoses == {"precision": 1}
    assert found.cells == {F64: {"pass": 2}, BF16: {"over_budget": 1, "missing": 1, "skipped": 2}}
    assert found.modes == {
        "isolated": {"pass": 1, "over_budget": 1, "missing": 1, "skipped": 2},
        "chained": {"pass": 1},
    }
    assert found.cases == {
        "toy.short": {"pass": 2, "over_budget": 1, "missing": 1, "skipped": 1},
        "toy.long": {"skipped": 1},
    }


def test_summary_of_nothing():
    assert summary([]).rows == summary([]).failed == 0


def test_what_show_and_report_need_imports_no_numpy():
    modules = "gate", "locate", "compare", "diagnose"
    code = "import sys\n" + "".join(f"import paritygate.judge.{m}\n" for m in modules)
    code += "import paritygate.store.baseline\nprint(sorted({'numpy', 'pandas', 'ml_dtypes'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
