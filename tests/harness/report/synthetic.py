"""Builds a run that never ran: cases, cells, modes, and optionally a semantic fault with all that follows from it."""

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from paritygate.core.comparison import Comparison
from paritygate.core.coverage import Coverage, CoveredGlue, Gap, PartKind, Unexercised
from paritygate.core.decision import Decided, Excuse, Flip
from paritygate.core.drift import Diagnosis, Drift, Element, Judgement, Row, Verdict
from paritygate.core.lint import Lint, Noted
from paritygate.core.mutant import KillMatrix, Mutant
from paritygate.core.program import Change, Collective, Program, ProgramChanges
from paritygate.core.run import Run, RunInfo
from paritygate.judge.compare import compare

CASES = ("tiny-scout.long", "tiny-scout.padded", "tiny-maverick.long")
CELLS = ("f64/single/cpu", "f32/single/cpu", "f16/single/cpu", "bf16/single/cpu")
MODES = ("isolated", "chained")
NOISE = {"f64": 1e-15, "f32": 2e-7, "f16": 6e-4, "bf16": 5e-3}
FIXED = 1e-12  # the limit of the float64 cell, which has no floor
FACTOR = 2.0
FAULTY = ("layers.1.attn", "inner.q_rope")

ATTENTION = ("in.x", "inner.q", "inner.k", "inner.q_rope", "inner.k_rope", "inner.probs", "out")
MOE = ("in.x", "inner.router_logits", "inner.choice", "inner.shared", "out")
MLP = ("in.x", "inner.gate", "out")


def meshes(number: int) -> list[str]:
    """So many cells: dtypes on one device and on meshes."""
    axes = ("fsdp2", "fsdp4", "tp2", "tp4", "ep2", "ep4", "fsdp2tp2", "fsdp2ep2", "tp2ep2", "fsdp2tp4", "fsdp4tp2")
    names = ("single", *axes, "fsdp2tp2ep2", "cp2", "cp4")
    return [f"{dtype}/{mesh}/cpu" for dtype in NOISE for mesh in names][:number]


def sites(layers: int, moe: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Sites of a model in execution order, with their ports."""
    found: list[tuple[str, tuple[str, ...]]] = [
        ("rope", ("out.cos", "out.sin")),
        ("masks", ("out.full", "out.chunked")),
    ]
    found.append(("embed", ("in.tokens", "out")))
    for layer in range(layers):
        found.append((f"layers.{layer}", ("in.x", "out")))
        found.append((f"layers.{layer}.input_norm", ("in.x", "out")))
        found.append((f"layers.{layer}.attn", ATTENTION))
        found.append((f"layers.{layer}.attn.glue", ("out",)))
        found.append((f"layers.{layer}.post_norm", ("in.x", "out")))
        found.append((f"layers.{layer}.moe", MOE) if moe else (f"layers.{layer}.mlp", MLP))
    return [*found, ("norm", ("in.x", "out")), ("lm_head", ("in.x", "out"))]


def rows(
    fault: str = "none",
    layers: int = 4,
    extra_site: str = "",
    cases: Iterable[str] = CASES,
    cells: Iterable[str] = CELLS,
) -> list[Row]:
    """`fault` is `none`, `semantic` (layers.1.attn:inner.q_rope and what follows) or `all` (other verdicts too)."""
    made = []
    for case in cases:
        draw = random.Random(case)
        places = sites(layers, moe="scout" in case)
        if extra_site:
            places.insert(3, (extra_site, ("in.x", "out")))
        for cell in cells:
            for mode in MODES:
                order, reached = 0, False
                for site, ports in places:
                    for port in ports:
                        order += 1
                        reached = reached or (site, port) == FAULTY
                        if mode == "isolated" and site != FAULTY[0]:
                            hit = False
                        else:
                            hit = reached and fault != "none" and not (mode == "isolated" and port.startswith("in."))
                        made.append(_row(draw, case, cell, mode, site, port, order, hit))
    return _spoil(made) if fault == "all" else made


def _row(draw: random.Random, case: str, cell: str, mode: str, site: str, port: str, order: int, hit: bool) -> Row:
    dtype = cell.split("/")[0]
    floor = NOISE[dtype] * (1 + order / 40) * (4 if mode == "chained" else 1)
    choice = port == "inner.choice"
    value = floor * draw.uniform(0.8, 1.2) if not hit else draw.uniform(0.2, 0.6)
    drift = Drift(
        case=case,
        cell=cell,
        mode=mode,
        site=site,
        port=port,
        call=0,
        order=order,
        kind="index" if choice else "float",
        layout="B T D",
        shape=(2, 37, 48),
        dtype={"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16"}[dtype],
        metrics={"agreement": 1.0}
        if choice
        else {"rel_l2": value, "max_abs": value * 5, "cosine": 1 - value * value / 2},
        scale=4.25,
        worst=() if choice else tuple(_elements(draw, value)),
    )
    if choice:
        return Row(drift, Verdict.PASS, judgements=(Judgement("agreement", 0.0, 0.0, 0.0, 0.0, 0.0, "choices", True),))
    judgements = tuple(
        _judgement(metric, v, floor * s, dtype) for metric, v, s in (("rel_l2", value, 1), ("max_abs", value * 5, 5))
    )
    if not hit:
        return Row(drift, Verdict.PASS, judgements=judgements)
    here = (site, port) == FAULTY
    diagnosis = Diagnosis.SEMANTIC if here else Diagnosis.PROPAGATED
    return Row(drift, Verdict.OVER_BUDGET, diagnosis, judgements, origin="" if here else ":".join(FAULTY))


def _judgement(metric: str, value: float, floor: float, dtype: str) -> Judgement:
    if dtype == "f64":
        return Judgement(metric, value, 0.0, 0.0, value, FIXED, "oracle", value <= FIXED)
    ratio = value / floor
    return Judgement(metric, value, floor, floor / 3, ratio, FACTOR, "floats", ratio <= FACTOR)


def _elements(draw: random.Random, value: float) -> list[Element]:
    found = []
    for _ in range(3):
        golden = draw.uniform(-4, 4)
        index = (draw.randrange(2), draw.randrange(37), draw.randrange(48))
        found.append(Element(index, golden, golden + value * draw.uniform(2, 5)))
    return found


def _spoil(made: list[Row]) -> list[Row]:
    """Turns single rows of the last case into the other verdicts."""
    wanted = [
        ("embed", "out", "f16/single/cpu", Verdict.NONFINITE, "nonfinite", "17 values are inf"),
        ("layers.0.attn", "inner.k", "bf16/single/cpu", Verdict.MISSING, "", ""),
        (
            "layers.0.attn",
            "inner.probs",
            "f32/single/cpu",
            Verdict.MISMATCH,
            "mismatch",
            "shape (2, 37), expected (37, 2)",
        ),
        ("norm", "out", "bf16/single/cpu", Verdict.ERROR, "error", "RESOURCE_EXHAUSTED"),
        ("rope", "out.sin", "f32/single/cpu", Verdict.REGRESSED, "", ""),
        ("masks", "out.full", "f16/single/cpu", Verdict.SKIPPED, "", ""),
    ]
    for i, row in enumerate(made):
        for site, port, cell, verdict, problem, detail in wanted:
            drift = row.drift
            if (drift.site, drift.port, drift.cell, drift.mode, drift.case) == (
                site,
                port,
                cell,
                "isolated",
                CASES[-1],
            ):
                empty = {} if verdict not in (Verdict.REGRESSED, Verdict.SKIPPED) else dict(drift.metrics)
                bad = Drift(**{**vars(drift), "metrics": empty, "worst": (), "problem": problem, "detail": detail})
                bad = Drift(**{**vars(bad), "nonfinite": 17 if verdict is Verdict.NONFINITE else 0})
                reason = {
                    Verdict.REGRESSED: "1.9 times the accepted drift",
                    Verdict.SKIPPED: "masks are exact by construction",
                }.get(verdict, "")
                kept = row.judgements if verdict is Verdict.REGRESSED else ()
                made[i] = Row(bad, verdict, Diagnosis.NONE, kept, reason=reason)
    return [_flipped(row) for row in made]


def _flipped(row: Row) -> Row:
    """The first router of the first case in bf16, chained, with an excused flip and one that follows from another."""
    drift = row.drift
    wanted = (CASES[0], CELLS[-1], "chained", "layers.0.moe", "inner.choice")
    if (drift.case, drift.cell, drift.mode, drift.site, drift.port) != wanted:
        return row
    flips = (Flip((0, 5), (1,), (3,), 0.004, 2.0, 0.01), Flip((0, 9), (2,), (0,), 0.5, 2.0, 0.25, 2))
    decided = Decided("inner.router_logits", 74, 1, 1, flips)
    return replace(row, drift=replace(drift, decided=decided), excuse=Excuse(0.02, 1, 0, 1))


def coverage(gap: str = "layers.3.attn") -> Coverage:
    """A module that no site stands for, a glue step and a config branch that is not taken."""
    why = "no site and no glue step stands for it"
    return Coverage(
        {"module": 77, "parameter": 51, "glue": 1},
        (Gap(Verdict.MISSING, PartKind.MODULE, gap, why, CASES[:1]),),
        (CoveredGlue("llama4", "model", "", ("lm_head:out",), "hidden states to the head"),),
        (Unexercised("llama4", "attention_bias", True, "biases of the projections"),),
    )


def lint(line: str = "moe.py:69") -> Lint:
    """A logistic in 16 bits that nobody expected, an island that is one, and an expectation that nothing met."""
    where, cells = "jax_llama4.moe:Llama4Router.__call__", CELLS[-1:]
    new = Noted("llama4", "low-math", where, line, "logistic in 16 bits", cells, CASES[:1])
    island = Noted("llama4", "island", where, "moe.py:70", "computed in float32", cells, CASES, "HF: so does it")
    return Lint((new,), (island,), idle=("llama4: low-mask in jax_llama4.masks:*",))


def comparison() -> Comparison:
    """The run with rows of every verdict beside one that passes: bits that are the same, rows that are new and gone."""
    before, after = rows("none"), rows("all")
    before = [replace(row, drift=replace(row.drift, digest="5a17")) for row in before[:-1]]
    after = [replace(row, drift=replace(row.drift, digest="5a17" if i % 2 else "")) for i, row in enumerate(after)]
    return Comparison("run 20260101-000000-tiny", tuple(compare(before, after[1:])))


def info(**changes: object) -> RunInfo:
    values: dict[str, object] = {
        "id": "20260102-030405-tiny",
        "suite": "tiny",
        "cases": CASES,
        "cells": CELLS,
        "modes": MODES,
        "started": "2026-01-02T03:04:05Z",
        "command": ("paritygate", "run", "tiny"),
        "goldens": {case: f"{i}" * 64 for i, case in enumerate(CASES, 1)},
        "versions": {"paritygate": "0.1.0", "jax": "0.10.2", "numpy": "2.4.6"},
        "workers": (
            {"cells": ["f64/single/cpu"], "env": {"JAX_ENABLE_X64": "1"}, "wall_s": 12.5, "peak_memory_bytes": 1 << 30},
            {
                "cells": list(CELLS[1:]),
                "env": {"XLA_FLAGS": "--xla_cpu_x=1"},
                "wall_s": 31.0,
                "peak_memory_bytes": 9 << 27,
            },
        ),
        "wall_s": 43.5,
        "compilations": 96,
        "peak_memory_bytes": 1288490188,
        "rising": ("agreement", "cosine"),
    }
    return RunInfo(**(values | changes))  # type: ignore[arg-type]


def write_run(folder: Path, fault: str = "none", judged: str = "judged", layers: int = 2, **changes: object) -> Run:
    """A run folder with `run.json`, `drifts.jsonl` and, where `judged`, `rows.jsonl`."""
    from paritygate.core.codec import canonical

    folder.mkdir(parents=True)
    made = rows(fault, layers)
    run = Run(folder, info()).save(info(**{"id": folder.name, **changes}))
    (folder / "drifts.jsonl").write_text("".join(canonical(row.drift) + "\n" for row in made))
    if judged == "judged":
        run = run.save_rows(made)
    return run


def kill_matrix() -> KillMatrix:
    """A fault that is caught, and one that is not."""
    cell, case = "f64/single/cpu", "tiny/tiny-scout.long"
    caught = Mutant("norm-eps", "norms", "semantic", case, cell, True, True, "a:out", Diagnosis.SEMANTIC, True, True)
    return KillMatrix((caught, Mutant("norm-gain", "norms", "semantic", case, cell, True, False)))


def programs() -> tuple[tuple[Program, ...], ProgramChanges]:
    """A pass on eight devices that gathers a weight which nobody recorded."""
    cell = "bf16/fsdp2tp4/cpu"
    gather = Collective("all-gather", "tp", "bf16", (64, 32), 4096, "jax_llama4.moe:bmm", "moe.py:31", "loop", 3)
    change = Change("tiny-scout.long forward 1", cell, "one more all-gather of [64, 32] bf16 over tp, 4 KiB")
    return (Program("tiny-scout.long forward 1", cell, (gather,)),), ProgramChanges((change,))
