"""Which accelerators are here, of what kind, or why not: asked of JAX in a child, for a platform's start may hang.

Also the child itself, started as a file with the interpreter of a candidate's environment: it needs JAX at the most.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec

TIMEOUT_S = 120.0
# What JAX_PLATFORMS calls each. JAX's own alias `gpu` asks for ROCm too, and fails where that is not installed; the CPU
# comes second, so that the host can compute beside the device.
JAX_NAMES = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}
# What must be installed for JAX to know the platform, any of them, and what to say where none is.
_NEEDS = {
    "cpu": (("jax",), "jax is not installed"),
    "gpu": (
        ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13"),
        "jax has no CUDA plugin installed; pip install 'jax[cuda12]'",
    ),
    "tpu": (("libtpu",), "libtpu is not installed; pip install 'jax[tpu]'"),
}


@dataclass(frozen=True)
class Presence:
    """How many devices of a platform are here, and of which kind; where none is, the `reason`."""

    platform: str
    devices: int = 0
    kind: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        if not self.devices:
            return f"no {self.platform}: {self.reason}"
        return f"{counted(self.devices)}, {self.kind}"

    def lacks(self, mesh: str, devices: int) -> str:
        """Why a mesh of so many devices cannot run here; empty where it can."""
        if not self.devices:
            return self.text
        if devices > self.devices:
            return f"{self.platform}: {counted(self.devices)}, {mesh} needs {devices}"
        return ""


def counted(devices: int) -> str:
    return f"{devices} device{'s' * (devices != 1)}"


def installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def probe(platform: str, interpreter: str = "", timeout_s: float = TIMEOUT_S) -> Presence:
    """What an interpreter, by default this one, finds of a platform; whatever goes wrong is the reason for none."""
    environment = os.environ | {"JAX_PLATFORMS": JAX_NAMES[platform], "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command = [interpreter or sys.executable, "-P", __file__, platform]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)
        if child.returncode == 0:
            return Presence(**json.loads(child.stdout.splitlines()[-1]))
        reason = (child.stderr.strip().splitlines() or [f"the child ended with code {child.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"jax did not start it within {timeout_s:g} s"
    except OSError as failed:
        reason = str(failed)
    return Presence(platform, reason=reason)


def found(platform: str) -> Presence:
    """What this process finds, whose JAX_PLATFORMS is that of the platform."""
    modules, missing = _NEEDS[platform]
    if not any(map(installed, modules)):
        return Presence(platform, reason=missing)
    import jax

    devices = [device for device in jax.devices() if device.platform == platform]
    if not devices:
        return Presence(platform, reason=f"jax finds none, only {jax.default_backend()}")
    return Presence(platform, len(devices), ", ".join(sorted({device.device_kind for device in devices})))


if __name__ == "__main__":
    print(json.dumps(asdict(found(sys.argv[1]))))
