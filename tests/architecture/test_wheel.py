"""What is published works: the wheel, built here, installed in a clean environment elsewhere, and asked a question."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("harness/paritygate", "impl/jax_llama4")
CONSTRAINTS = ROOT / "constraints" / f"py{sys.version_info.major}{sys.version_info.minor}.txt"


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of `command`, run where nothing of this checkout or environment can help it."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def test_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    expected = {
        str(file.relative_to((ROOT / package).parent))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == expected
    # Of each kind of data there is at least one file, or the comparison above proves nothing about data.
    assert {".py", ".j2", ".css", ".js", ".txt"} <= {Path(name).suffix for name in inside}


def test_wheel_declares_command_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        assert "paritygate = paritygate.cli.main:main" in archive.read(entry_points).decode()
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "environment"
    run(sys.executable, "-m", "venv", folder, cwd=tmp_path)
    yield folder
    shutil.rmtree(folder)  # gigabytes, which pytest would keep for three sessions


@pytest.mark.network
@pytest.mark.timeout(1200)  # two gigabytes are unpacked; a slow index must not look like a fault of the wheel
def test_installed_wheel_answers_outside_the_repository(wheel: Path, environment: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    python = environment / "bin" / "python"
    pins = ["-c", CONSTRAINTS] if CONSTRAINTS.exists() else []
    # Not compiled: of ten thousand files a few hundred are imported below.
    quick = ("--quiet", "--disable-pip-version-check", "--no-compile")
    run(python, "-m", "pip", "install", *quick, *pins, wheel, cwd=elsewhere)

    assert "llama4" in run(environment / "bin" / "paritygate", "list", "families", cwd=elsewhere)
    look = "import paritygate, jax_llama4; print(paritygate.__file__, jax_llama4.__file__)"
    origin = run(python, "-c", look, cwd=elsewhere)
    assert all(Path(file).is_relative_to(environment) for file in origin.split())
