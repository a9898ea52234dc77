"""`--processes` by the command line: a mesh over two processes of `jax.distributed`, on one machine by loopback."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from toy.workplace import TOY, Workplace

VALUES = 16  # of a cell
TWO = ("--processes", "2", "--no-explain")


def judged(folder: str | Path) -> dict[tuple[str, ...], str]:
    """Verdict by row."""
    rows = [json.loads(line) for line in (Path(folder) / "rows.jsonl").read_text().splitlines()]
    names = ("case", "cell", "mode", "site", "port")
    return {tuple(row["drift"][name] for name in names): row["verdict"] for row in rows}


def test_two_processes_judge_as_one_does(place: Workplace) -> None:
    """Two processes with four devices each, and one with eight; a single device is of one process."""
    cells = ("--cells", "f64 x single,dp2sp2tp2")
    one = place.done("run", "toy", *cells, "--no-explain", "--json").json
    two = place.done("run", "toy", *cells, *TWO, "--json").json
    assert judged(two["folder"]) == judged(one["folder"])
    assert set(judged(two["folder"]).values()) == {"pass"}
    assert two["reproducible"]
    assert two["coverage"]["gaps"] == []
    info = json.loads((Path(two["folder"]) / "run.json").read_text())
    assert info["processes"] == 2
    by_cell = {worker["cells"][0]: set[int]() for worker in info["workers"]}
    for worker in info["workers"]:
        by_cell[worker["cells"][0]].add(worker["process"])
    assert by_cell == {"f64/dp2sp2tp2/cpu": {0, 1}, "f64/single/cpu": {0}}


def test_a_lost_process_ends_the_run_and_is_named_and_resuming_finishes(
    variant: Callable[[str], Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other process makes of the loss, an exception in a collective, is no result of the candidate's."""
    place = variant("stops")
    monkeypatch.setenv("TOY_STOPS", "process 1 killed")
    died = place.done("run", "toy", "--cells", "f32,bf16 x fsdp2", *TWO, "--workers", "1", "--json", code=4).json
    (problem,) = died["problems"]
    assert problem.startswith("process 1 of 2 of worker for f32/fsdp2/cpu, bf16/fsdp2/cpu was killed by signal 9: ")
    assert problem.endswith(" (see 0.1.log)")
    assert died["summary"]["cells"] == {"f32/fsdp2/cpu": {"pass": VALUES}, "bf16/fsdp2/cpu": {"missing": VALUES}}
    monkeypatch.delenv("TOY_STOPS")
    resumed = place.done("run", "--resume", died["run"], "--no-explain", "--json").json
    assert resumed["problems"] == []
    assert resumed["summary"]["verdicts"] == {"pass": 2 * VALUES}
    workers = json.loads((Path(died["folder"]) / "run.json").read_text())["workers"]
    assert sorted(worker["process"] for worker in workers if worker["cells"] == ["bf16/fsdp2/cpu"]) == [0, 1]


def test_a_copy_that_another_process_holds_is_compared_too(place: Workplace, tmp_path: Path) -> None:
    directory = shutil.copytree(TOY, tmp_path / "stale", ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    family = directory / "families" / "toy.py"
    family.write_text(family.read_text().replace("toy_jax:sharded", "toy_meshes:stale"))
    found = Workplace(place.root, directory).done("run", "toy", "--cells", "f64 x tp2", *TWO, "--json", code=1).json
    (gap,) = found["coverage"]["gaps"]
    assert (gap["part"], gap["where"]) == ("placement", "['layers'][1]['norm']['weight'].value")
    assert "differ, of processes 0 and 1" in gap["why"]


def test_processes_with_another_candidate_compute_nothing_together(
    variant: Callable[[str], Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STOPS", "process 1 differs")
    said = variant("stops").done("run", "toy", "--cells", "bf16 x fsdp2", *TWO, "--json", code=4).json
    assert "process has other versions or another candidate than process 0: process 1" in said["problems"][0]
    assert said["summary"]["verdicts"] == {"missing": VALUES}


def tasks(place: Workplace, *arguments: str, code: int) -> list[str]:
    """What the two tasks of a Slurm step say that all run one command, as `srun` starts them."""
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    children = [
        subprocess.Popen(
            place.command(*arguments, "--processes", "auto"),
            cwd=place.root,
            env=place.environ | step | {"SLURM_PROCID": str(number), "SLURM_LOCALID": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [child.communicate(timeout=240) for child in children]
    assert [child.returncode for child in children] == [code, code], said
    return [out for out, _ in said]


def test_on_a_cluster_one_command_is_run_by_all_and_the_first_judges(
    variant: Callable[[str], Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = variant("stops")
    monkeypatch.setenv("TOY_STOPS", "process 1 killed")
    before = place.run_folders()
    cells = ("--cells", "f32,bf16 x fsdp2; f32 x single")
    first, second = tasks(place, "run", "toy", *cells, "--no-explain", "--workers", "1", "--json", code=4)
    died = json.loads(first)
    assert place.run_folders() - before == {Path(died["folder"])}
    lost = "process 1 of 2 of worker for f32/fsdp2/cpu, bf16/fsdp2/cpu was killed by signal 9"
    assert died["problems"][0].startswith(lost)
    assert second.startswith(f"process 1 of 2 worked; process 0 judges\n{lost}")
    assert died["summary"]["cells"]["f32/fsdp2/cpu"] == {"pass": VALUES}
    assert died["summary"]["cells"]["bf16/fsdp2/cpu"] == {"missing": VALUES}
    monkeypatch.delenv("TOY_STOPS")
    first, second = tasks(place, "run", "--resume", died["run"], "--no-explain", "--json", code=0)
    assert second == "process 1 of 2 worked; process 0 judges\n"
    assert json.loads(first)["summary"]["verdicts"] == {"pass": 3 * VALUES}


def test_without_a_cluster_auto_is_refused(place: Workplace) -> None:
    said = place.done("run", "toy", "--cells", "f64 x tp2", "--processes", "auto", code=2).err
    assert said.startswith("no cluster: --processes auto\n  got       ValueError: ")
    assert place.done("run", "toy", "--processes", "0", code=2).err == (
        "bad number of processes: --processes 0\n  expected  1, 2, ... or auto\n"
    )


@pytest.mark.parametrize(
    ("cells", "processes", "says"),
    [
        (
            "f64 x fsdp4tp2,tp2",
            4,
            "mesh cannot lie over so many processes: --processes 4, f64/tp2/cpu\n"
            "  expected  a number that divides its 2 devices\n",
        ),
        (
            "f64",
            2,
            "nothing for several processes: --processes 2\n  expected  cells with several devices\n",
        ),
        ("f64 x tp2 x gpu", 2, "processes of one machine share its CPU only: --processes 2, f64/tp2/gpu\n"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_before_anything_starts(
    place: Workplace, cells: str, processes: int, says: str
) -> None:
    before = place.run_folders()
    assert place.done("run", "toy", "--cells", cells, "--processes", str(processes), code=2).err == says
    assert place.run_folders() == before
