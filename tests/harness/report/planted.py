"""Rows with one fault each, measured as a replay measures: what a row's evidence is drawn of."""

from dataclasses import replace
from types import ModuleType

import numpy as np

from paritygate.core.decision import Decided, Excuse, Flip
from paritygate.core.drift import Diagnosis, Drift, Judgement, Row, Verdict
from paritygate.core.error_map import Edge
from paritygate.core.hypothesis import Counterfactual, Explanation
from paritygate.core.site import Kind
from paritygate.metrics.error_map import error_map
from paritygate.metrics.measure import measure
from paritygate.report.data import ReportData

CASE, CELL, MODE = "tiny-scout.long", "f64/single/cpu", "isolated"
BATCH, TOKENS, HEADS, WIDTH = 2, 38, 6, 12
CHUNK = (Edge("T", "chunk", 8),)
NOISE = 2.0**-44


def heads() -> Row:
    """Head 4 is another one."""
    golden = _sample(BATCH, TOKENS, HEADS, WIDTH)
    got = _noisy(golden)
    got[:, :, 4] += 0.5 * _sample(BATCH, TOKENS, WIDTH, seed=2)
    return _row("layers.0.attn", "inner.query", golden, got, "B T N H", "f64 differs by 2e-1 at head 4")


def chunk() -> Row:
    """All is off from the second chunk on."""
    golden = _sample(BATCH, TOKENS, 24)
    got = _noisy(golden)
    got[:, 8:] += 0.5 * _sample(BATCH, TOKENS - 8, 24, seed=2)
    said = "f64 differs by 5e-1 from the first token of the second chunk on"
    return _row("layers.1.attn", "out", golden, got, "B T D", said)


def factor() -> Row:
    """√H is missing in half of the heads."""
    golden = _sample(BATCH, TOKENS, HEADS, WIDTH)
    got = _noisy(golden)
    got[:, :, ::2] *= WIDTH**0.5
    return _row("layers.2.attn", "inner.query", golden, got, "B T N H", "f64 differs by 1.7e0 at heads 0, 2 and 4")


def nan() -> Row:
    """Two elements are not finite."""
    golden = _sample(BATCH, TOKENS, 24)
    got = _noisy(golden)
    got[0, 9, 3], got[1, 20, 7] = np.nan, np.inf
    row = _row("layers.3.attn", "out", golden, got, "B T D", "not finite in f64: 2 of 1,824 values")
    return replace(row, verdict=Verdict.NONFINITE, judgements=())


def flips() -> Row:
    """Of three flips of a choice the widest is refused, the narrow one excused, and one follows."""
    golden = np.random.default_rng(0).integers(0, 4, (BATCH * TOKENS, 1))
    got = golden.copy()
    for slot in (5, 9, 30):
        got[slot] = (golden[slot] + 1) % 4
    row = _row("layers.0.moe.router", "out.choice", golden, got, "(B T) J", "f64 differs in 4 %", Kind.INDEX)
    found = (
        Flip((0, 5), (1,), (3,), 0.4, 2.0, 0.1),
        Flip((0, 30), (0,), (2,), 0.004, 2.0, 0.01),
        Flip((0, 9), (2,), (0,), 0.9, 2.0, 0.25, 2),
    )
    decided = Decided("out.logits", BATCH * TOKENS, 2, 1, found)
    drift = replace(row.drift, decided=decided)
    return replace(row, drift=drift, diagnosis=Diagnosis.DECISION, excuse=Excuse(0.02, 1, 1, 1))


def passing() -> Row:
    """Noise."""
    golden = _sample(BATCH, TOKENS, 24)
    row = _row("embed", "out", golden, _noisy(golden), "B T D", "")
    return replace(row, verdict=Verdict.PASS, diagnosis=Diagnosis.NONE, edges=())


def data(synthetic: ModuleType) -> ReportData:
    """All of them as one run, the first of them explained."""
    rows = (passing(), heads(), chunk(), factor(), nan(), flips())
    said = (Explanation("head taken twice", "reads head 3 for head 4", 71),)
    explained = (Counterfactual(CASE, CELL, MODE, "layers.0.attn:inner.query", 71, 15, 20, said),)
    info = synthetic.info(cases=(CASE,), cells=(CELL,), modes=(MODE,), routing="golden", fault="{row}")
    return ReportData(info, rows, counterfactuals=explained)


def _sample(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def _noisy(golden: np.ndarray) -> np.ndarray:
    return golden * (1 + NOISE * _sample(*golden.shape, seed=1))


def _row(
    site: str, port: str, golden: np.ndarray, got: np.ndarray, layout: str, evidence: str, kind: Kind = Kind.FLOAT
) -> Row:
    real = np.ones((BATCH, TOKENS), bool)
    found = measure(golden, got, kind=kind, role="", layout=layout, real=real)
    drift = Drift(
        CASE, CELL, MODE, site, port, 0, len(site), str(kind), layout, golden.shape, got.dtype.name,
        metrics=found.metrics, scale=found.scale, nonfinite=found.nonfinite, worst=found.worst, where=found.where,
        histogram=found.histogram, ratios=found.ratios, problem=found.problem, detail=found.detail,
        error_map=error_map(golden, got, kind=kind, layout=layout, real=real),
    )  # fmt: skip
    name, value = next(iter(found.metrics.items()), ("rel_l2", 0.0))
    judged = Judgement(name, value, 0.0, 0.0, value, 1e-12, "oracle", False)
    return Row(drift, Verdict.OVER_BUDGET, Diagnosis.SEMANTIC, (judged,), evidence=evidence, edges=CHUNK)
