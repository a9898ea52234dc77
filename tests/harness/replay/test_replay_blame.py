"""Taking apart what a cell ran: its very program, values through a cache followed, what cannot be taken apart said."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from paritygate.catalog.select import families, policies
from paritygate.core.blame import Blame
from paritygate.core.cell import Cell, Mode
from paritygate.core.errors import UsageError
from paritygate.replay.bench import Bench
from paritygate.replay.blame import Models, as_its_cell, blame
from paritygate.replay.blaming import blame_all
from paritygate.replay.job import Asked
from paritygate.store.golden import GoldenStore

STORE = GoldenStore(Path(__file__).resolve().parents[3] / "golden")
PROGRAM = """
import sys
from pathlib import Path
from paritygate.catalog.select import families, policies
from paritygate.core.cell import Cell
from paritygate.core.registry import load
from paritygate.replay.bench import Bench
from paritygate.replay.blame import as_its_cell
from paritygate.replay.chained import places_of, reads_chained
from paritygate.replay.observe import traced
from paritygate.store.golden import GoldenStore

store = GoldenStore(Path(sys.argv[1]))
golden = store.read("tiny", "tiny-scout.long")
family, policy = families()["llama4"], policies()["bf16"]
bench = Bench(family, golden.case, golden, Cell("bf16", "single", "cpu"), policy, store)
with as_its_cell(bench):
    model = load(family.candidate.build)(golden.config, bench.weights(), policy)
    given = bench.model_arguments(*bench.prompt.spans[0])
    print(traced(model, places_of(bench, reads_chained(bench, 0), 0), given, {}).jaxpr)
"""


@pytest.fixture
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def bench_of(suite: str, case: str, dtype: str) -> Bench:
    golden = STORE.read(suite, case)
    family = families()[golden.case.family]
    return Bench(family, golden.case, golden, Cell(dtype, "single", "cpu"), policies()[dtype], STORE)


def blamed(bench: Bench, suite: str, mode: Mode, site: str, port: str, call: int = 0, what="lines") -> Blame:
    asked = Asked(suite, bench.case, bench.cell, mode, site, port, call, what, limit=1e-12)
    return blame(bench, asked, policies()["f64"], Models())


def test_the_program_is_that_of_the_cells_own_worker() -> None:
    """Traced with x64 off in a process where it is on, and in one where it is not."""
    programs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(STORE.root)],
            env={**os.environ, "JAX_ENABLE_X64": x64, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for x64 in ("0", "1")
    ]
    assert programs[0] == programs[1] and "bf16" in programs[0] and "f64" not in programs[0]


def test_a_candidate_is_built_as_in_its_cell(wide) -> None:
    with as_its_cell(bench_of("tiny", "tiny-scout.long", "bf16")):
        assert jnp.arange(3.0).dtype == jnp.float32
    with as_its_cell(bench_of("tiny", "tiny-scout.long", "f64")):
        assert jnp.arange(3.0).dtype == jnp.float64


def test_pieces_are_fed_one_after_another_through_their_cache(wide) -> None:
    """In float64, where every value of both pieces is the reference's."""
    bench = bench_of("text", "tiny-scout.decode", "f64")
    found = blamed(bench, "text", Mode.CHAINED, "lm_head", "out", 1, "parting")
    assert found.parting is None and found.reason == "no value parts from the reference by more than 1e-12"


def test_what_cannot_be_taken_apart_is_said(wide) -> None:
    bench = bench_of("tiny", "tiny-scout.long", "bf16")
    assert "backward pass" in blamed(bench, "tiny", Mode.GRADIENT, "gradients", "out.model.norm.weight").reason
    assert "ask for the scores" in blamed(bench, "tiny", Mode.ISOLATED, "layers.0.moe.router", "out.choice").reason


def test_cells_of_several_devices_are_refused(tmp_path) -> None:
    case = STORE.read("tiny", "tiny-scout.long").case
    asked = Asked("tiny", case, Cell("bf16", "tp2", "cpu"), Mode.ISOLATED, "norm", "out", 0, "lines")
    with pytest.raises(UsageError, match="over several devices cannot be taken apart: bf16/tp2/cpu") as refused:
        blame_all([asked], (), STORE, tmp_path)
    assert "the same value in bf16/single/cpu" in str(refused.value)
