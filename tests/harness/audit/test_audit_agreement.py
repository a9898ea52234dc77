"""An arithmetic that a device rounds otherwise than said is told from one whose sums are only in another order."""

from dataclasses import replace

import jax
import ml_dtypes
import numpy as np
import pytest

from paritygate.audit import agreement
from paritygate.audit.agreement import agreements, compared
from paritygate.audit.arithmetic import ARITHMETICS
from paritygate.audit.rounding import to_bf16, truncated_to_bf16

DRAW = np.random.default_rng(3).standard_normal
LHS, RHS = DRAW((16, 64)).astype(np.float32), DRAW((64, 32)).astype(np.float32)


def bf16(x: np.ndarray) -> np.ndarray:
    return x.astype(ml_dtypes.bfloat16).astype(np.float64)


def test_another_order_of_sums_agrees() -> None:
    theirs = (bf16(LHS[:, ::-1]) @ bf16(RHS[::-1])).astype(np.float32).astype(np.float64)
    found = compared(ARITHMETICS["bf16x1"], theirs, LHS, RHS, "device")
    assert found.agrees
    assert "bf16x1 on device agrees: " in found.text


@pytest.mark.parametrize(
    "theirs",
    [
        np.asarray(truncated_to_bf16(LHS), np.float64) @ bf16(RHS),
        np.asarray(to_bf16(LHS), np.float64) @ RHS,
        LHS.astype(np.float64) @ RHS,
        np.full((16, 32), np.nan),
    ],
    ids=["truncated", "one operand", "plain", "not finite"],
)
def test_another_rounding_of_an_operand_differs(theirs: np.ndarray) -> None:
    found = compared(ARITHMETICS["bf16x1"], theirs, LHS, RHS, "device")
    assert not found.agrees
    assert "bf16x1 on device DIFFERS: " in found.text


def test_a_device_is_asked_for_what_it_is_known_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    assert agreements() == [], "a CPU has its own arithmetic only"
    asked = {"bf16x1": {"cpu": "BF16_BF16_F32"}, "bf16x6": {"cpu": "HIGHEST"}, "tf32": {"cpu": "TF32_TF32_F32"}}
    rows = {name: replace(ARITHMETICS[name], native=native) for name, native in asked.items()}
    monkeypatch.setattr(agreement, "ARITHMETICS", rows)
    ignored, exact, refused = agreements()
    assert not ignored.agrees, "a CPU takes the flag and multiplies in float32"
    assert exact.agrees
    assert not refused.agrees
    assert "not supported" in refused.text


def test_every_name_of_a_precision_is_one() -> None:
    names = {name for arithmetic in ARITHMETICS.values() for name in arithmetic.native.values()}
    known = {each.name for each in [*jax.lax.Precision, *jax.lax.DotAlgorithmPreset]}
    assert names <= known
