"""What is said of faults in the real candidate: the sentence, where in the value the difference sits, what follows."""

from pathlib import Path

import pytest

from paritygate.catalog.select import case_of, select_faults
from paritygate.core.cell import Cell
from paritygate.core.drift import Drift
from paritygate.core.family import Case
from paritygate.core.fault import Patch
from paritygate.judge.budgets import read_budgets
from paritygate.judge.decide import judge
from paritygate.judge.locate import Divergence, first_divergence
from paritygate.replay.job import Planting
from paritygate.replay.mutants import replay_mutants
from paritygate.store.golden import GoldenStore

pytestmark = pytest.mark.usefixtures("compiled_quickly")

GOLDEN = Path(__file__).parents[2] / "golden"
CELL = "f64/single/cpu"
CHUNKS = Patch(
    "jax_llama4.masks:visible",
    "query_chunk = (query_slots - starts",
    "query_chunk = (query_slots + 1 - starts",
)
TEMPERATURE = Patch(
    "jax_llama4.attention:attention_temperature", ".astype(numerics.temperature) + 1.0", ".astype(numerics.temperature)"
)
HEADS = Patch(
    "jax_llama4.attention:attention_weights",
    "grouped = query.reshape(batch, length, key.shape[2], -1, width)",
    "grouped = query.reshape(batch, length, -1, key.shape[2], width).swapaxes(2, 3)",
)
# By the fault: its patch, its case, the value to blame, and the sentence.
FAULTS = {
    "chunk mask": (CHUNKS, "tiny/tiny-scout.long", "masks:out.chunked", "at the last token of chunks of 8"),
    "chunk mask, padded": (CHUNKS, "tiny/tiny-scout.leftpad", "masks:out.chunked", "at the last token of chunks of 8"),
    "temperature": (
        TEMPERATURE,
        "tiny/tiny-scout.long",
        "layers.3.attn:inner.query",
        "at the last token of temperature steps of 4",
    ),
    "tiled heads": (HEADS, "tiny/tiny-scout.long", "layers.0.attn:inner.probs", "at heads 1 to 4"),
    "temperature, in pieces": (
        TEMPERATURE,
        "text/tiny-scout.decode",
        "layers.3.attn:inner.query",
        "in the piece of slots 0 to 10",
    ),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, compile_cache: Path) -> dict[str, Divergence]:
    """Where the case of each fault first differs in float64, all faults planted in one worker."""
    store, budgets = GoldenStore(GOLDEN), read_budgets(GOLDEN / "budgets.toml")
    divergences: dict[str, Divergence] = {}
    plantings = []
    for name, (patch, shown_by, *_) in FAULTS.items():
        suite, case = shown_by.split("/")
        plantings.append(Planting(name, (patch,), suite, Case.parse("llama4", case), (Cell.parse(CELL),)))

    def finished(fault: str, drifts: list[Drift]) -> None:
        planting = next(planting for planting in plantings if planting.fault == fault)
        golden = store.read(planting.suite, planting.case.id)
        modes = sorted({drift.mode for drift in drifts})
        (divergences[fault],) = first_divergence(judge(drifts, {planting.case.id: golden}, [CELL], modes, budgets, {}))

    folder = tmp_path_factory.mktemp("evidence")
    assert replay_mutants(plantings, store, folder, finished, workers=1, compile_cache=compile_cache) == []
    return divergences


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sentence_says_where_a_fault_sits(found: dict[str, Divergence], fault: str) -> None:
    *_, address, words = FAULTS[fault]
    divergence = found[fault]
    assert (divergence.start, divergence.row.diagnosis) == (address, "semantic")
    assert divergence.row.evidence.startswith("f64 differs ") and words in divergence.row.evidence
    assert divergence.propagated > 5, "what comes after it differs too, and is put down to it"


def test_a_sentence_says_which_axis_of_the_mesh_a_fault_of_sharding_takes(tmp_path: Path, compile_cache: Path) -> None:
    ((_, fault),) = select_faults(["replica-left-stale"])
    suite, case = case_of(fault)
    store, budgets = GoldenStore(GOLDEN), read_budgets(GOLDEN / "budgets.toml")
    cells = (Cell.parse(CELL), Cell("f64", fault.mesh, "cpu"))
    divergences: list[Divergence] = []

    def finished(_: str, drifts: list[Drift]) -> None:
        rows = judge(drifts, {case.id: store.read(suite, case.id)}, [*map(str, cells)], ["chained"], budgets, {})
        divergences.extend(first_divergence(rows))

    planting = Planting(fault.name, fault.patches, suite, case, cells)
    assert (
        replay_mutants([planting], store, tmp_path / "replay", finished, workers=1, compile_cache=compile_cache) == []
    )
    (divergence,) = divergences
    assert (divergence.cell, divergence.row.diagnosis) == ("f64/dp2/cpu", "sharding")
    assert divergence.row.evidence.endswith("in the second half of the rows; in every layout with dp")
