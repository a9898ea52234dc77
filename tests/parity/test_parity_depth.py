"""A model three times as deep compiles nothing more: one program per kind of site, shape and cell."""

import shutil
from pathlib import Path

import pytest

from paritygate.catalog.select import select_cells
from paritygate.core.cell import Mode
from paritygate.core.family import Case
from paritygate.replay.launch import replay
from paritygate.store.golden import GoldenStore

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The committed 4-layer golden and, captured here, the 12-layer one of the same weights and widths."""
    from paritygate.reference.capture import capture

    root = tmp_path_factory.mktemp("golden")
    shutil.copytree(GOLDEN / "tiny", root / "tiny")
    shutil.copytree(GOLDEN / "objects", root / "objects")
    store = GoldenStore(root)
    capture([Case("llama4", "tiny-scout-12", "long")], "depth", store, lambda text: None)
    return store


@pytest.mark.parametrize("mode", [Mode.ISOLATED, Mode.CHAINED])
def test_compilations_do_not_grow_with_depth(store, tmp_path, mode):
    counts, sites = {}, {}
    for suite, preset in (("tiny", "tiny-scout"), ("depth", "tiny-scout-12")):
        case = Case("llama4", preset, "long")
        run = replay(suite, [case], select_cells("f32"), [mode], store, tmp_path / suite, ())
        assert run.info.problems == ()
        counts[preset] = run.info.compilations
        sites[preset] = len({drift.site for drift in run.drifts() if not drift.problem})
    assert sites["tiny-scout-12"] > 2 * sites["tiny-scout"]
    assert counts["tiny-scout"] == counts["tiny-scout-12"]
