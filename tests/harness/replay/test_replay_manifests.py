"""Manifests: what Kubernetes and Slurm would take, made of what cells need; nothing in a name is more than text."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from paritygate.catalog.select import select_cells
from paritygate.catalog.targets import parse_target
from paritygate.core.errors import UsageError
from paritygate.replay.manifests import Asked, Engine, check, jobset, machines, slurm

JOBSET = runpy.run_path(str(Path(__file__).with_name("jobset_schema.py")))["JOBSET"]
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
SERVER = "https://parity.example"
HOSTILE = "a b'; $(touch /tmp/x) \"\n#SBATCH --uid=0\n- &x !!python/object: {{y}}"
# As the manual of sbatch writes them, each with what it takes.
OPTIONS = {
    "job-name": r"[\w-]+",
    "nodes": r"\d+(-\d+)?",
    "ntasks-per-node": r"\d+",
    "array": r"\d+(-\d+)?(%\d+)?",
    "requeue": None,
    "gpus-per-node": r"(\w+:)?\d+",
    "output": r"[\w%.-]+",
}


def found(engine: Engine, cells: str, targets: str = "", **named: Any) -> dict[str, str]:
    """Text by name."""
    asked = Asked(**{"cases": "tiny", "server": SERVER, "image": "reg/pg:1" if engine == "jobset" else "", **named})
    each = machines(select_cells(cells), [parse_target(name) for name in targets.split(",") if name])
    check(engine, asked, each)
    return {one.name: (jobset if engine == "jobset" else slurm)(one, asked) for one in each}


def pod_of(text: str) -> dict[str, Any]:
    (replicated,) = json.loads(text)["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]["template"]["spec"]


def job_of(text: str) -> dict[str, Any]:
    (replicated,) = json.loads(text)["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def checked_script(text: str, tmp_path: Path) -> tuple[dict[str, str], list[str]]:
    """The options and the last command of a script that bash, shellcheck and sbatch's manual take.

    Left out: that a `$` in quotes is not expanded, which is what quotes are for.
    """
    file = tmp_path / "job.sbatch"
    file.write_text(text)
    for command in (["bash", "-n", file], [SHELLCHECK, "--exclude=SC2016", file]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    options: dict[str, str] = {}
    lines = text.splitlines()
    for line in lines[1:]:  # sbatch reads up to the first line of a command
        if not line.startswith("#"):
            break
        name, _, value = line.removeprefix("#SBATCH --").partition("=")
        pattern = OPTIONS[name]
        assert value == "" if pattern is None else re.fullmatch(pattern, value), line
        options[name] = value
    return options, shlex.split(text[text.index("\nexec srun ") :])


CELLS = [
    ("f64,bf16", "", {"worker-cpu": (1, {}, {})}),
    ("bf16 x single,tp2 x gpu", "", {"worker-gpu": (1, {"nvidia.com/gpu": "2"}, {})}),
    (
        "bf16 x tp2 x gpu; f64",
        "h200:8",
        {
            "worker-gpu": (
                1,
                {"nvidia.com/gpu": "8"},
                {"cloud.google.com/gke-accelerator": "nvidia-h200-141gb"},
            ),
            "worker-cpu": (1, {}, {}),
        },
    ),
    (
        "bf16 x fsdp4tp2 x gpu",
        "h100:2x4",
        {"mesh-gpu": (2, {"nvidia.com/gpu": "4"}, {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"})},
    ),
    (
        "bf16 x single,tp2 x tpu",
        "v5p:2x2x1",
        {
            "worker-tpu": (
                1,
                {"google.com/tpu": "4"},
                {
                    "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
                    "cloud.google.com/gke-tpu-topology": "2x2x1",
                },
            )
        },
    ),
    (
        "bf16 x fsdp4tp2 x tpu",
        "v5p:2x2x2",
        {
            "mesh-tpu": (
                2,
                {"google.com/tpu": "4"},
                {
                    "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
                    "cloud.google.com/gke-tpu-topology": "2x2x2",
                },
            )
        },
    ),
    (
        "bf16 x fsdp4tp2 x tpu",
        "v6e:2x4",
        {
            "worker-tpu": (
                1,
                {"google.com/tpu": "8"},
                {"cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice", "cloud.google.com/gke-tpu-topology": "2x4"},
            )
        },
    ),
    (
        "bf16 x fsdp4tp2 x tpu",
        "tpu7x:2x2x1",  # each chip is two devices
        {
            "worker-tpu": (
                1,
                {"google.com/tpu": "4"},
                {"cloud.google.com/gke-tpu-accelerator": "tpu7x", "cloud.google.com/gke-tpu-topology": "2x2x1"},
            )
        },
    ),
]


@pytest.mark.parametrize(("cells", "targets", "expected"), CELLS)
def test_a_jobset_is_what_kubernetes_takes_and_what_the_cells_need(cells, targets, expected):
    texts = found("jobset", cells, targets)
    assert texts.keys() == expected.keys()
    for name, (pods, limits, selector) in expected.items():
        Draft202012Validator(JOBSET).validate(json.loads(texts[name]))
        job, pod = job_of(texts[name]), pod_of(texts[name])
        assert (job["parallelism"], job["completions"], job["completionMode"]) == (pods, pods, "Indexed")
        assert pod["containers"][0].get("resources", {}).get("limits", {}) == limits
        assert pod.get("nodeSelector", {}) == selector


def test_the_schema_refuses_what_kubernetes_would():
    (text,) = found("jobset", "f64").values()
    validator = Draft202012Validator(JOBSET)
    for old, new in (
        ('"replicatedJobs"', '"replicatedjobs"'),
        ('"Never"', '"Always"'),
        ('"parallelism": 1', '"parallelism": "1"'),
        ('"name": "worker-cpu"', '"name": "worker_cpu"'),
        ("v1alpha2", "v1"),
        ('"valueFrom": {', '"value": "secret", "valueFrom": {'),
    ):
        assert text.count(old) == 1, old
        assert validator.is_valid(json.loads(text)) and not validator.is_valid(json.loads(text.replace(old, new)))


def test_a_worker_of_a_pod_is_given_its_token_by_a_secret_and_no_account():
    pod = pod_of(
        found("jobset", "f64 x single x gpu", "h100:1", labels=("team-a", "gpu"), secret="pg", workers=3)["worker-gpu"]
    )
    (container,) = pod["containers"]
    assert container["command"] == [
        *("paritygate", "worker", "--server", SERVER),
        *("--labels", "gpu,h100,team-a", "--until-idle"),
    ]
    assert container["env"] == [
        {"name": "PARITYGATE_TOKEN", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "token"}}}
    ]
    assert pod["automountServiceAccountToken"] is False and "serviceAccountName" not in pod


def test_a_mesh_over_hosts_is_one_command_on_all_of_them_and_is_not_tried_again():
    text = found("jobset", "f64,bf16 x fsdp4tp2 x tpu", "v5p:2x2x2", server="", account="reads-pods")["mesh-tpu"]
    assert job_of(text)["backoffLimit"] == 0
    pod = pod_of(text)
    assert pod["serviceAccountName"] == "reads-pods"
    (container,) = pod["containers"]
    cells = "f64/fsdp4tp2/tpu;bf16/fsdp4tp2/tpu"
    assert container["command"] == ["paritygate", "run", "tiny", "--cells", cells, "--processes", "auto"]
    assert [str(cell) for cell in select_cells(cells)] == cells.split(";")
    assert "env" not in container


def test_a_script_of_workers_is_an_array_that_reads_its_token_from_a_file(tmp_path):
    texts = found("slurm", "f64; bf16 x tp2 x gpu", "h100:4", workers=5, labels=("night",))
    options, command = checked_script(texts["worker-gpu"], tmp_path)
    assert options == {
        "job-name": "paritygate-worker-gpu",
        "nodes": "1",
        "ntasks-per-node": "1",
        "array": "0-4",
        "requeue": "",
        "gpus-per-node": "h100:4",
        "output": "paritygate-worker-gpu-%A_%a.log",
    }
    assert command == [
        *("exec", "srun", "paritygate", "worker", "--server", SERVER),
        *("--labels", "gpu,h100,night", "--until-idle"),
    ]
    options, _ = checked_script(texts["worker-cpu"], tmp_path)
    assert "gpus-per-node" not in options


def test_a_script_gives_its_worker_the_token_of_the_file_and_ends_as_it_does(tmp_path):
    """The script as it is, with an srun that says what it was given."""
    (text,) = found("slurm", "f64").values()
    (tmp_path / "token").write_text("PARITYGATE_TOKEN='two words'\n")
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\necho "$PARITYGATE_TOKEN"; printf "%s\\n" "$@"; exit 7\n')
    srun.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PARITYGATE_ENV": str(tmp_path / "token")}
    done = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True)
    assert done.returncode == 7
    assert done.stdout.splitlines()[:3] == ["two words", "paritygate", "worker"]
    without = subprocess.run(["bash", "-c", text], env={**environment, "PARITYGATE_ENV": "/none"}, capture_output=True)
    assert without.returncode not in (0, 7), "no worker begins without a token"


def test_a_script_of_a_mesh_has_a_task_a_gpu_that_sees_all_of_its_node(tmp_path):
    text = found("slurm", "bf16 x fsdp4tp2 x gpu", "h100:2x4", server="")["mesh-gpu"]
    options, command = checked_script(text, tmp_path)
    assert options == {
        "job-name": "paritygate-mesh-gpu",
        "nodes": "2",
        "ntasks-per-node": "4",
        "gpus-per-node": "h100:4",
        "output": "paritygate-mesh-gpu-%j.log",
    }
    assert command == [
        *("exec", "srun", "--gpu-bind=none", "paritygate", "run", "tiny"),
        *("--cells", "bf16/fsdp4tp2/gpu", "--processes", "auto"),
    ]


def test_a_hostile_name_is_one_word_of_a_command(tmp_path):
    text = found("slurm", "bf16 x fsdp4tp2 x gpu", "h100:2x4", cases=HOSTILE)["mesh-gpu"]
    options, command = checked_script(text, tmp_path)
    assert command[5] == HOSTILE and "uid" not in options
    written = found("jobset", "bf16 x fsdp4tp2 x tpu", "v5p:2x2x2", cases=HOSTILE)["mesh-tpu"]
    read = yaml.safe_load(written)
    assert read == json.loads(written), "JSON is YAML"
    Draft202012Validator(JOBSET).validate(read)
    assert pod_of(written)["containers"][0]["command"][2] == HOSTILE


@pytest.mark.parametrize(
    ("engine", "cells", "targets", "named", "says"),
    [
        ("jobset", "f64", "", {"image": ""}, "no image for the pods: --image ''"),
        ("jobset", "f64", "", {"image": "a b"}, "no image for the pods: --image 'a b'"),
        ("jobset", "f64", "", {"labels": ("a b",)}, "bad label: 'a b'"),
        ("jobset", "f64", "", {"labels": ("--x",)}, "bad label: '--x'"),
        ("jobset", "f64", "", {"secret": "A_b"}, "bad name: --secret 'A_b'"),
        ("jobset", "f64", "", {"server": "file:///etc"}, "no server for the workers: --server 'file:///etc'"),
        ("jobset", "f64", "", {"server": "https://x/\nb"}, "no server for the workers: --server"),
        ("jobset", "f64", "", {"server": "https://me:secret@x"}, "a server's address holds no secret: --server\n"),
        ("jobset", "f64", "", {"server": "https://x?token=1"}, "a server's address holds no secret: --server\n"),
        ("slurm", "f64", "", {"image": "x"}, "an image is for pods: slurm --image"),
        ("slurm", "bf16 x single x tpu", "v6e:1x1", {}, "Slurm has no TPUs: bf16/single/tpu"),
        ("jobset", "bf16 x single x tpu", "", {}, "which TPU is not said: bf16/single/tpu"),
        ("jobset", "bf16 x fsdp8tp2 x gpu", "", {}, "more GPUs than a host has: bf16/fsdp8tp2/gpu"),
        ("jobset", "bf16 x fsdp4tp2 x gpu", "h100:4", {}, "target is too small: --target h100:4"),
        ("jobset", "bf16 x tp2 x gpu", "h100:4,h200:8", {}, "two targets of one platform: --target h100:4,h200:8"),
        ("jobset", "f64", "h100:4", {}, "target of no cell: --target h100:4"),
        ("jobset", "bf16 x tp2 x tpu", "v5p:4x4x4", {}, "mesh cannot lie over so many processes: bf16/tp2/tpu, 16"),
        ("slurm", "bf16 x tp2 x gpu", "h100:2x4", {}, "mesh cannot lie over so many processes: bf16/tp2/gpu, 8"),
    ],
)  # fmt: skip
def test_what_could_not_be_right_is_refused(engine, cells, targets, named, says):
    with pytest.raises(UsageError) as refused:
        found(engine, cells, targets, **named)
    assert str(refused.value).startswith(says)
