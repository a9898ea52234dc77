"""Files by which Kubernetes and Slurm start workers of a service, or one command on every host of a mesh.

They are text: nothing is started here.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from paritygate.catalog.select import layout_of
from paritygate.core.cell import Cell
from paritygate.core.compilation import Target
from paritygate.core.errors import UsageError

Engine = Literal["jobset", "slurm"]
TOKEN = "PARITYGATE_TOKEN"

# What GKE's node labels call the chips of the catalog.
_GKE = {
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
    "tpu7x": "tpu7x",
    "h100": "nvidia-h100-80gb",
    "h200": "nvidia-h200-141gb",
}
_RESOURCE = {"gpu": "nvidia.com/gpu", "tpu": "google.com/tpu"}
_ON_ONE_HOST = {"v5e": 8, "v6e": 8}  # the most chips; of every other TPU, and of each host of several, four
_MOST_GPUS = 8  # of a host
_RESTARTS = 4  # of workers that are lost: what one had begun, the service gives to another
_LABEL = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Machines:
    """What the cells of one platform need: so many hosts, each with so many devices, of a TPU chips."""

    platform: str
    cells: tuple[Cell, ...]
    devices: int
    hosts: int = 1
    target: Target | None = None

    @property
    def name(self) -> str:
        """Of its file, and of what it starts."""
        return f"{'mesh' if self.hosts > 1 else 'worker'}-{self.platform}"

    @property
    def labels(self) -> list[str]:
        return [self.platform] + ([self.target.chip.name] if self.target else [])


@dataclass(frozen=True)
class Asked:
    """What is the same in all files. `cases` is a suite's name, or whatever `run` takes in its place."""

    cases: str
    server: str
    labels: tuple[str, ...] = ()
    workers: int = 1
    image: str = ""
    secret: str = "paritygate"
    account: str = "paritygate"


def machines(cells: Sequence[Cell], targets: Sequence[Target]) -> list[Machines]:
    """What the cells need, by platform. Raises UsageError where a target is lacking, too small or of no use."""
    named: dict[str, Target] = {}
    for target in targets:
        if named.setdefault(target.chip.platform, target) is not target:
            raise UsageError("two targets of one platform", where=f"--target {named[target.chip.platform]},{target}")
    of: dict[str, list[Cell]] = {}
    for cell in cells:
        of.setdefault(cell.platform, []).append(cell)
    if unused := [str(target) for platform, target in named.items() if platform not in of or platform == "cpu"]:
        raise UsageError("target of no cell", where=f"--target {unused[0]}", got=", ".join(of))
    return [_machines(platform, tuple(some), named.get(platform)) for platform, some in of.items()]


def _machines(platform: str, cells: tuple[Cell, ...], target: Target | None) -> Machines:
    if platform == "cpu":
        return Machines(platform, cells, 0)
    needed = {cell: layout_of(cell.mesh).devices for cell in cells}
    widest = max(cells, key=needed.__getitem__)
    if target is None:
        if platform == "tpu":
            raise UsageError("which TPU is not said", where=str(widest), try_="--target v5p:2x2x1, or another")
        if needed[widest] > _MOST_GPUS:
            hosts = -(-needed[widest] // _MOST_GPUS)
            raise UsageError("more GPUs than a host has", where=str(widest), try_=f"--target h100:{hosts}x{_MOST_GPUS}")
        return Machines(platform, cells, needed[widest])
    if needed[widest] > target.devices:
        raise UsageError(
            "target is too small",
            where=f"--target {target}",
            expected=f"{needed[widest]} devices, for {widest}",
            got=str(target.devices),
        )
    if platform == "gpu":
        hosts = target.shape[0] if len(target.shape) == 2 else 1
        return Machines(platform, cells, target.shape[-1], hosts, target)
    chips = target.devices // target.chip.each
    a_host = chips if chips <= _ON_ONE_HOST.get(target.chip.name, 4) else 4
    return Machines(platform, cells, a_host, -(-chips // a_host), target)


def check(engine: Engine, asked: Asked, found: Sequence[Machines]) -> None:
    """Raises UsageError on what would give a file that cannot be right, or that would hold a secret."""
    for label in asked.labels:
        if not _LABEL.fullmatch(label):
            raise UsageError("bad label", where=repr(label), expected="lower-case letters, digits, and . _ - between")
    for name, text in (("--secret", asked.secret), ("--account", asked.account)):
        if not _LABEL.fullmatch(text) or set(text) & {"_", "."}:
            raise UsageError(
                "bad name", where=f"{name} {text!r}", expected="lower-case letters, digits, . and - between"
            )
    if engine == "jobset" and (not asked.image or re.search(r"[\s\x00-\x1f]", asked.image)):
        raise UsageError("no image for the pods", where=f"--image {asked.image!r}", expected="REGISTRY/NAME:TAG")
    if engine == "slurm":
        if asked.image:
            raise UsageError("an image is for pods", where="slurm --image", try_="paritygate on the PATH of every node")
        if tpus := [each for each in found if each.platform == "tpu"]:
            raise UsageError("Slurm has no TPUs", where=str(tpus[0].cells[0]), try_="manifest jobset")
    for each in found:
        for cell in each.cells if each.hosts > 1 else ():
            processes, devices = each.hosts * tasks(engine, each), layout_of(cell.mesh).devices
            if devices > 1 and devices % processes:
                raise UsageError(
                    "mesh cannot lie over so many processes",
                    where=f"{cell}, {processes} on {each.target}",
                    expected=f"a number that divides its {devices} devices",
                )
    if any(each.hosts == 1 for each in found):
        server = urlsplit(asked.server)
        if server.scheme not in ("http", "https") or not server.hostname or re.search(r"[\s\x00-\x1f]", asked.server):
            raise UsageError(
                "no server for the workers",
                where=f"--server {asked.server!r}",
                expected="https://HOST, or PARITYGATE_SERVER",
            )
        if "@" in server.netloc or server.query or server.fragment:
            raise UsageError("a server's address holds no secret", where="--server", try_=f"the token by {TOKEN}")


def tasks(engine: Engine, each: Machines) -> int:
    """How many processes a host has: JAX expects one a GPU under Slurm, and takes what a pod has."""
    return each.devices if engine == "slurm" and each.hosts > 1 else 1


def command(each: Machines, asked: Asked) -> list[str]:
    """What every host runs: a worker of the service or, where a mesh lies over several, its part of one run."""
    if each.hosts > 1:
        return ["paritygate", "run", asked.cases, "--cells", ";".join(map(str, each.cells)), "--processes", "auto"]
    labels = ",".join(dict.fromkeys([*each.labels, *asked.labels]))
    return ["paritygate", "worker", "--server", asked.server, "--labels", labels, "--until-idle"]


def jobset(each: Machines, asked: Asked) -> str:
    """One JobSet, as JSON, which is YAML: nothing in a name can be anything but text."""
    is_mesh = each.hosts > 1
    container: dict[str, Any] = {
        "name": "paritygate",
        "image": asked.image,
        "command": command(each, asked),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if not is_mesh:
        secret = {"secretKeyRef": {"name": asked.secret, "key": "token"}}
        container["env"] = [{"name": TOKEN, "valueFrom": secret}]
    if each.devices:
        container["resources"] = {"limits": {_RESOURCE[each.platform]: str(each.devices)}}
    pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
    # JAX asks the API server for the pods of a mesh; a worker has no business there.
    pod |= {"serviceAccountName": asked.account} if is_mesh else {"automountServiceAccountToken": False}
    if each.target:
        pod["nodeSelector"] = _selector(each.target)
    pods = each.hosts if is_mesh else asked.workers
    job = {
        "parallelism": pods,
        "completions": pods,
        "completionMode": "Indexed",
        "backoffLimit": 0 if is_mesh else _RESTARTS * pods,
        "template": {"spec": pod},
    }
    found = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": f"paritygate-{each.name}", "labels": {"app.kubernetes.io/name": "paritygate"}},
        "spec": {"replicatedJobs": [{"name": each.name, "template": {"spec": job}}]},
    }
    return json.dumps(found, indent=2) + "\n"


def _selector(target: Target) -> dict[str, str]:
    if target.chip.platform == "gpu":
        return {"cloud.google.com/gke-accelerator": _GKE[target.chip.name]}
    topology = "x".join(map(str, target.shape))
    return {
        "cloud.google.com/gke-tpu-accelerator": _GKE[target.chip.name],
        "cloud.google.com/gke-tpu-topology": topology,
    }


def slurm(each: Machines, asked: Asked) -> str:
    """One batch script: an array of workers, or a task a GPU of all hosts, as JAX expects it of a mesh."""
    is_mesh = each.hosts > 1
    options = [f"--job-name=paritygate-{each.name}", f"--nodes={each.hosts}"]
    options += [f"--ntasks-per-node={tasks('slurm', each)}"]
    options += [] if is_mesh else [f"--array=0-{asked.workers - 1}", "--requeue"]
    if each.devices:
        kind = f"{each.target.chip.name}:" if each.target else ""
        options.append(f"--gpus-per-node={kind}{each.devices}")
    options.append(f"--output=paritygate-{each.name}-{'%j' if is_mesh else '%A_%a'}.log")
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in options), "set -euo pipefail"]
    if not is_mesh:
        lines += [
            f"# {TOKEN}=... in a file that only you can read; PARITYGATE_ENV names another one.",
            "set -a",
            "# shellcheck source=/dev/null",
            'source "${PARITYGATE_ENV:-$HOME/.config/paritygate/worker.env}"',
            "set +a",
        ]
    bind = ["--gpu-bind=none"] if is_mesh and each.devices else []  # every task sees the GPUs of its node
    lines.append(shlex.join(["exec", "srun", *bind, *command(each, asked)]))
    return "\n".join(lines) + "\n"
