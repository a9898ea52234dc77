"""Workflows and the composite action pass actionlint, the scripts in them shellcheck; steps do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = ROOT / ".github" / "actions" / "paritygate" / "action.yml"


def actionlint(file: Path) -> str:
    """What it says of a workflow, with the scripts of its steps; empty where nothing is wrong."""
    command = [SCRIPTS / "actionlint", "-no-color", "-shellcheck", SCRIPTS / "shellcheck", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def as_workflow(action: dict[str, Any]) -> dict[str, Any]:
    """The steps of a composite action as those of a job that is called with its inputs: actionlint reads workflows."""
    inputs = {
        name: {"type": "string", "description": each["description"], "default": each["default"]}
        for name, each in action["inputs"].items()
    }
    outputs = {name: each["value"] for name, each in action["outputs"].items()}
    job = {"runs-on": "ubuntu-latest", "steps": action["runs"]["steps"], "outputs": outputs}
    return {"name": "inlined", "on": {"workflow_call": {"inputs": inputs}}, "permissions": {}, "jobs": {"job": job}}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflow_passes_actionlint(file: Path) -> None:
    assert actionlint(file) == ""


def test_the_steps_of_the_action_pass_actionlint(tmp_path: Path) -> None:
    file = tmp_path / "inlined.yml"
    file.write_text(yaml.safe_dump(as_workflow(yaml.safe_load(ACTION.read_text())), sort_keys=False))
    assert actionlint(file) == ""


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("inputs.suite }}", "inputs.sweet }}", 'property "sweet" is not defined'),
        ("steps.gate.outputs.run != ''", "steps.gat.outputs.run != ''", 'property "gat" is not defined'),
        ('"${words[@]}"', "${words[@]}", "SC2068"),
        ("shell: bash", "shell: fish -x", "shell"),
    ],
)
def test_the_check_can_fail(tmp_path: Path, good: str, bad: str, said: str) -> None:
    text = ACTION.read_text()
    assert good in text
    file = tmp_path / "inlined.yml"
    file.write_text(yaml.safe_dump(as_workflow(yaml.safe_load(text.replace(good, bad))), sort_keys=False))
    assert said in actionlint(file)


def test_no_expression_is_put_into_a_script() -> None:
    """Text of a pull request would be code there; the environment holds it as text."""
    scripts = [step["run"] for step in yaml.safe_load(ACTION.read_text())["runs"]["steps"] if "run" in step]
    for file in WORKFLOWS:
        jobs = yaml.safe_load(file.read_text())["jobs"].values()
        scripts += [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert len(scripts) >= 8
    assert [script for script in scripts if "${{" in script] == []


def test_every_output_of_the_action_is_one_that_a_step_writes() -> None:
    from paritygate.cli import gating

    source = Path(gating.__file__).read_text()
    for name, each in yaml.safe_load(ACTION.read_text())["outputs"].items():
        assert each["value"] == f"${{{{ steps.gate.outputs.{name} }}}}"
        assert f'"{name}"' in source, name


def steps(file: Path, job: str) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in yaml.safe_load(file.read_text())["jobs"][job]["steps"] if "run" in step}


def test_the_nightly_matrix_is_what_make_nightly_does() -> None:
    nightly = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())["jobs"]["nightly"]
    (line,) = re.findall(r"^nightly: ([a-z ]+) ##", (ROOT / "Makefile").read_text(), re.M)
    assert nightly["strategy"]["matrix"]["check"] == line.split()


class Bench:
    """A folder in which steps are run as a runner does, beside programs that stand in for those they call."""

    def __init__(self, root: Path):
        self.root, self.programs = root, root / "bin"
        self.programs.mkdir()
        for name in ("summary", "output"):
            (root / name).touch()

    def program(self, name: str, script: str) -> None:
        """A program that writes its arguments, a line a call, into `NAME.calls`, and then does what `script` says."""
        file = self.programs / name
        calls = self.root / f"{name}.calls"
        noted = f'printf "%q " "$@" >>{calls}\necho >>{calls}'
        file.write_text(f"#!/usr/bin/env bash\n{noted}\n{script}\n")
        file.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        file = self.root / f"{name}.calls"
        return [line.strip() for line in file.read_text().splitlines()] if file.exists() else []

    def run(self, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(self.root),
            "GITHUB_STEP_SUMMARY": str(self.root / "summary"),
            "GITHUB_OUTPUT": str(self.root / "output"),
        }
        command = ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", script]
        return subprocess.run(command, cwd=self.root, env=given | environ, capture_output=True, text=True, timeout=60)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


RECAPTURE = ROOT / ".github" / "workflows" / "recapture.yml"


@pytest.mark.parametrize(("release", "asked"), [("", "transformers"), ("5.99.0", "transformers==5.99.0")])
def test_recapture_installs_the_newest_reference(bench: Bench, release: str, asked: str) -> None:
    bench.program("python", "")
    done = bench.run(steps(RECAPTURE, "recapture")["Install, and the newest transformers"]["run"], RELEASE=release)
    assert done.returncode == 0, done.stderr
    first, second = bench.calls("python")
    assert first.endswith("-c constraints/py311.txt -e .\\[images\\]")
    assert second.endswith(f"--upgrade {asked}")


@pytest.mark.parametrize("code", [0, 1, 5])
def test_recapture_tells_what_moved_and_ends_with_its_code(bench: Bench, code: int) -> None:
    bench.program("paritygate", f"echo '<b>layers.0.norm moved & more</b>'; exit {code}")
    done = bench.run(steps(RECAPTURE, "recapture")["Compare"]["run"], SUITE="tiny", PARITYGATE_LOCKED="1")
    assert done.returncode == code, done.stderr
    assert bench.calls("paritygate") == [f"golden compare tiny --against {bench.root}/golden"]
    summary = (bench.root / "summary").read_text()
    assert summary == "<pre>\n&lt;b&gt;layers.0.norm moved &amp; more&lt;/b&gt;\n</pre>\n"


@pytest.mark.parametrize(("found", "call"), [("", "issue create"), ("17", "issue comment 17")])
def test_recapture_opens_one_issue_and_then_adds_to_it(bench: Bench, found: str, call: str) -> None:
    bench.program("gh", f'[[ "$2" != list ]] || echo "{found}"')
    (bench.root / "drift.md").write_text("moved\n")
    script = steps(RECAPTURE, "recapture")["Tell it in an issue"]["run"]
    done = bench.run(script, TITLE="The reference drifts", URL="the run", GH_TOKEN="t")
    assert done.returncode == 0, done.stderr
    listing, told = bench.calls("gh")
    assert listing.startswith("issue list --state open --search ") and told.startswith(call)
    assert (bench.root / "body.md").read_text() == "Seen in the run.\nmoved\n"


def test_recapture_captures_into_a_folder_of_its_own() -> None:
    step = steps(RECAPTURE, "recapture")["Capture again, into a folder of its own"]
    assert step["env"]["PARITYGATE_GOLDEN"] == "${{ runner.temp }}/golden"
    assert step["run"] == 'paritygate capture "$SUITE"'
