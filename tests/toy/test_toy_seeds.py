"""`seeds` on the toy: a right port raises no alarm on any weights and text, a wrong one does; a kill costs one seed."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from paritygate.judge.fitted import FIRST, LAST

from toy.workplace import Workplace

DTYPES = ("f64", "f32", "f16", "bf16")
ROWS = len(DTYPES) * 2 * 8  # eight ports that are no inputs, isolated and chained


def replays(keep: Path) -> dict[str, list[str]]:
    """By seed, the names of its runs."""
    return {seed.name: [run.name for run in seed.glob("runs/*")] for seed in sorted(keep.glob("seed-*"))}


def test_a_right_port_raises_no_alarm_and_is_judged_again(place: Workplace, tmp_path: Path) -> None:
    arguments = ("seeds", "--count", "2", "--keep", str(tmp_path))
    said = place.done(*arguments)
    assert f"2 seeds of 1 case in 4 cells: {2 * ROWS} values, no false alarm" in said.out
    assert said.out.splitlines()[0].startswith(f"seed 1: {ROWS} values, no false alarm; nearest ")
    before = replays(tmp_path)
    assert list(before) == ["seed-1", "seed-2"] and all(len(runs) == 1 for runs in before.values())
    weights = [json.loads(p.read_text())["weights"] for p in tmp_path.glob("seed-*/golden/seeds/toy-2.plain.json")]
    assert all(weights[0][name] != weights[1][name] for name in weights[0])
    assert not list(tmp_path.glob("seed-*/golden/objects")), "judging again needs no tensors"

    # Budgets that nothing meets, without a device: every float below the oracle's dtype is an alarm.
    strict = Workplace(place.root, place.extension, f"golden-{tmp_path.name}")
    shutil.copytree(place.root / "golden", place.root / strict.golden)
    budgets = place.root / strict.golden / "budgets.toml"
    by_hand = re.sub(f"{FIRST}.*{LAST}", "", budgets.read_text(), flags=re.S)
    head, *rules = by_hand.split("\n[[rule]]\n")
    lines = [re.sub(r"^factor = .*$", "factor = 1e-9", rule, flags=re.M) for rule in rules]
    budgets.write_text("\n[[rule]]\n".join([head, *lines]))
    again = strict.done(*arguments, "--json", code=1).json
    assert replays(tmp_path) == before
    for seed in again["seeds"]:
        assert {row["drift"]["cell"] for row in seed["alarms"]} == {f"{d}/single/cpu" for d in DTYPES[1:]}
    assert all(share["ratio"] >= 0 and share["values"] > 0 for share in again["shares"])


def test_a_wrong_port_is_an_alarm_at_its_site(variant: Callable[[str], Workplace], tmp_path: Path) -> None:
    place, keep = variant("doubled"), tmp_path / "keep"
    arguments = ("seeds", "toy", "--count", "1", "--first", "0", "--cells", "f64,bf16", "--keep", str(keep))
    said = place.done(*arguments, code=1)
    assert f"1 seed of 1 case in 2 cells: {ROWS // 2} values, 4 FALSE ALARMS" in said.out
    for cell in ("f64", "bf16"):
        assert f"seed 0  toy-2.plain/{cell}/single/cpu/isolated/head:out  over_budget, semantic" in said.out
    (folder,) = keep.glob("seed-0/runs/*")
    assert said.out.splitlines()[-1] == f"next    paritygate locate {folder}"
    assert "head:out" in place.done("locate", str(folder), code=1).out
    assert (folder / "report.html").is_file() and list(keep.glob("seed-0/golden/objects/*"))
    assert {row["drift"]["site"] for row in place.done(*arguments, "--json", code=1).json["seeds"][0]["alarms"]} == {
        "head"
    }


def test_a_dead_worker_is_code_4_and_the_seed_is_replayed_again(
    variant: Callable[[str], Workplace], tmp_path: Path
) -> None:
    place, keep = variant("killed"), tmp_path / "keep"
    arguments = ("seeds", "toy", "--count", "1", "--cells", "bf16", "--keep", str(keep), "--json")
    said = place.done(*arguments, code=4).json
    (problem,) = said["seeds"][0]["problems"]
    assert "was killed by signal 9" in problem
    before = replays(keep)
    place.done(*arguments, code=4)
    assert replays(keep) != before


def test_a_killed_command_goes_on_where_it_was(place: Workplace, tmp_path: Path) -> None:
    arguments = ("seeds", "toy", "--count", "2", "--cells", "f64,f32", "--keep", str(tmp_path))
    child = subprocess.Popen(
        place.command(*arguments), cwd=place.root, env=place.environ, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline().startswith("seed 1: ")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("seed-2/golden/objects/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    child.wait()
    child.stdout.close()
    first = replays(tmp_path)["seed-1"]
    lines = place.done(*arguments).out.splitlines()
    assert replays(tmp_path)["seed-1"] == first
    assert lines[0].endswith("; replayed before") and lines[1].startswith("seed 2: ")
    assert not lines[1].endswith("; replayed before")


def test_other_cells_or_another_candidate_are_not_taken_for_the_same(
    place: Workplace, variant: Callable[[str], Workplace], tmp_path: Path
) -> None:
    keep = str(tmp_path / "keep")
    place.done("seeds", "toy", "--count", "1", "--cells", "f64", "--keep", keep)
    other = place.done("seeds", "toy", "--count", "1", "--cells", "f32", "--keep", keep)
    assert not other.out.splitlines()[0].endswith("replayed before")
    same = ("seeds", "toy", "--count", "1", "--cells", "f32", "--keep", keep)
    assert place.done(*same).out.splitlines()[0].endswith("replayed before")
    changed = variant("inherits")
    with (changed.extension / "toy_jax.py").open("a") as sources:
        sources.write("# a change\n")
    assert not changed.done(*same).out.splitlines()[0].endswith("replayed before")


def test_what_cannot_be_asked_is_code_2_or_3(place: Workplace, tmp_path: Path) -> None:
    for arguments, text in (
        (("--count", "0"), "Invalid value for '--count'"),
        (("--first", "-1"), "Invalid value for '--first'"),
        (("toi",), "unknown suite, preset or case: toi\n"),
        (("toy", "--cells", "bf61"), "unknown dtype policy: bf61\n"),
    ):
        assert text in place.done("seeds", *arguments, "--keep", str(tmp_path / "keep"), code=2).err
    empty = Workplace(place.root, place.extension, f"golden-{tmp_path.name}")
    (place.root / empty.golden).mkdir()
    shutil.copy(place.root / "golden" / "budgets.toml", place.root / empty.golden)
    assert "no suite has goldens" in empty.done("seeds", code=3).err
    assert not (tmp_path / "keep").exists()


def test_without_a_folder_nothing_is_left_but_alarms(place: Workplace, variant: Callable[[str], Workplace]) -> None:
    temporary = place.root / "tmp"
    temporary.mkdir()
    for where, code in ((place, 0), (variant("doubled"), 1)):
        child = subprocess.run(
            where.command("seeds", "toy", "--count", "1", "--cells", "f64"),
            cwd=where.root,
            env=where.environ | {"TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert child.returncode == code, child.stdout + child.stderr
        assert len(list(temporary.glob("paritygate-seeds-*"))) == code
