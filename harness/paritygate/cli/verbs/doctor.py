"""`doctor`: is this machine fit to run? Versions, cores, goldens, budgets, a worker that starts, and accelerators."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from paritygate.cli.verb import Context, Json, Settings, Verb, settings_of
from paritygate.core.errors import ExitCode, HarnessError, InfrastructureError

PACKAGES = (
    "paritygate",
    "jax",
    "flax",
    "torch",
    "transformers",
    "numpy",
    "pandas",
    "jinja2",
    "safetensors",
    "ml_dtypes",
)
WORKER_TIMEOUT_S = 120
ACCELERATOR_TIMEOUT_S = 600
WORKER = "import jax; print(', '.join(f'{d.platform}:{d.device_kind}' for d in jax.devices()))"


@dataclass(frozen=True)
class Check:
    name: str
    state: str  # ok, or what is wrong
    exit_code: ExitCode = ExitCode.PASS


def doctor(context: Context, as_json: Json = False) -> ExitCode:
    from paritygate.cli.output import say, say_json

    settings = settings_of(context)
    checks = [
        Check("python", f"{sys.version.split()[0]} {sys.executable}"),
        Check("cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())),
        *map(_package, PACKAGES),
        _tried("budgets", lambda: _budgets(settings)),
        _tried("goldens", lambda: _goldens(settings)),
        _tried("worker", _worker),
        *(_tried(platform, partial(_accelerator, platform)) for platform in ("gpu", "tpu")),
        _tried("emulation", _emulation),
    ]
    bad = [check for check in checks if check.exit_code is not ExitCode.PASS]
    if as_json:
        say_json({"checks": checks, "exit_code": int(bad[0].exit_code) if bad else 0})
    else:
        for check in checks:
            say(f"{'ok ' if check.exit_code is ExitCode.PASS else 'BAD'}  {check.name:<13} {check.state}")
        say(f"{len(bad)} of {len(checks)} checks failed" if bad else f"all {len(checks)} checks passed")
        say("next    paritygate run tiny" if not bad else f"next    mend {bad[0].name}, then paritygate doctor")
    return bad[0].exit_code if bad else ExitCode.PASS


def _package(name: str) -> Check:
    try:
        return Check(name, version(name))
    except PackageNotFoundError:
        return Check(name, f"not installed; try pip install {name}", ExitCode.INFRASTRUCTURE)


def _tried(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, check())
    except HarnessError as reason:
        return Check(name, str(reason), reason.exit_code)


def _budgets(settings: Settings) -> str:
    from paritygate.cli.stages import read_budgets

    return f"{len(read_budgets(settings).ordered)} rules in {settings.golden / 'budgets.toml'}"


def _goldens(settings: Settings) -> str:
    from paritygate.core.errors import GoldenError
    from paritygate.store.golden import GoldenStore

    store = GoldenStore(settings.golden)
    hashes = [
        f"{suite}/{case} {store.manifest_hash(suite, case)[:12]}"
        for suite in store.suites()
        for case in store.cases(suite)
    ]
    if not hashes:
        raise GoldenError("no goldens", where=str(settings.golden), try_="paritygate capture tiny")
    if findings := store.verify():
        raise GoldenError("goldens are not whole", where=str(findings[0]), try_="paritygate golden verify")
    return f"{len(hashes)} whole: {', '.join(hashes)}"


def _worker() -> str:
    """A child like a worker's: it starts JAX and names its devices."""
    return _child("worker does not start", ["-c", WORKER], {"JAX_PLATFORMS": "cpu"}, WORKER_TIMEOUT_S)


def _accelerator(platform: str) -> str:
    """What cells on it would run on; that there is none is no failure."""
    from paritygate.replay.platforms import probe

    return probe(platform).text


def _emulation() -> str:
    """Holds the emulated arithmetics against those of the accelerator that JAX finds by itself."""
    text = _child(
        "the accelerator cannot be asked",
        ["-m", "paritygate.audit.agreement"],
        {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        ACCELERATOR_TIMEOUT_S,
    )
    found = json.loads(text.splitlines()[-1])
    if not found:
        return "no accelerator here: arithmetics that are emulated are held against theory only, by the tests"
    said = "; ".join(each["text"] for each in found)
    if any(not each["agrees"] and not each["refused"] for each in found):
        raise InfrastructureError(
            "an emulated arithmetic is not this accelerator's", got=said, try_="cells on the accelerator itself"
        )
    return said


def _child(failure: str, arguments: list[str], variables: dict[str, str], timeout_s: float) -> str:
    """What a Python of this environment prints; raises InfrastructureError where it fails or takes too long."""
    environment, command = os.environ | variables, [sys.executable, *arguments]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)
    except subprocess.TimeoutExpired:
        raise InfrastructureError(failure, got=f"nothing within {timeout_s} s") from None
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no text"])[-1]
        raise InfrastructureError(failure, got=last, try_=f'{sys.executable} -c "import jax"')
    return child.stdout.strip()


VERB = Verb(
    "doctor",
    doctor,
    "Versions, cores, goldens, budgets, a worker that starts, and accelerators beside their emulation.",
)
