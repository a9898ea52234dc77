"""The composite action, step by step as a runner does it: real scripts, the real command, files as GitHub gives."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ACTION = ROOT / ".github" / "actions" / "paritygate" / "action.yml"
EXPRESSION = re.compile(r"\$\{\{ (inputs|steps\.gate\.outputs)\.([\w-]+) \}\}")


class Job:
    """One use of the action in a folder of its own."""

    def __init__(self, root: Path, **inputs: str):
        action = yaml.safe_load(ACTION.read_text())
        self.inputs = {name: each["default"] for name, each in action["inputs"].items()} | inputs
        self.steps: dict[str, Any] = {step["name"]: step for step in action["runs"]["steps"]}
        self.root, self.outputs = root, dict[str, str]()
        (root / "bin").mkdir(exist_ok=True)

    def step(self, name: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Runs the script of a step as `shell: bash` does, and keeps its outputs."""
        step = self.steps[name]
        assert step["shell"] == "bash"
        given = {key: EXPRESSION.sub(self._value, str(value)) for key, value in step["env"].items()}
        files = {key: self.root / key.lower() for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        files["GITHUB_OUTPUT"].write_text("")
        whole = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "PARITYGATE_"))}
        whole |= given | {key: str(file) for key, file in files.items()}
        whole |= {
            "PATH": os.pathsep.join([str(self.root / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PARITYGATE_RUNS": str(self.root / "runs"),
            "PARITYGATE_GOLDEN": str(self.root / "golden"),
            "GITHUB_WORKSPACE": str(ROOT),
        }
        command = ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=self.root, env=whole | environ, capture_output=True, text=True, timeout=240)
        self.outputs |= read_outputs(files["GITHUB_OUTPUT"].read_text())
        return done

    def _value(self, found: re.Match[str]) -> str:
        return (self.inputs if found[1] == "inputs" else self.outputs).get(found[2], "")

    @property
    def summary(self) -> str:
        file = self.root / "github_step_summary"
        return file.read_text() if file.exists() else ""


def read_outputs(text: str) -> dict[str, str]:
    """As a runner reads them: `name=value`, or `name<<MARK`, lines, `MARK`; the last of a name counts."""
    found, lines = dict[str, str](), iter(text.splitlines())
    for line in lines:
        if marked := re.fullmatch(r"([\w-]+)<<(\w+)", line):
            value = []
            while (inner := next(lines)) != marked[2]:
                value.append(inner)
            found[marked[1]] = "\n".join(value)
        else:
            name, equals, value = line.partition("=")
            assert equals, line
            found[name] = value
    return found


@pytest.fixture
def runs(synthetic: ModuleType, tmp_path: Path) -> Path:
    synthetic.write_run(tmp_path / "runs" / "good", "none", started="20260101T000000Z")
    bad = synthetic.write_run(tmp_path / "runs" / "bad", "semantic", started="20260102T000000Z")
    (bad.folder / "report.html").write_text("a report")
    return tmp_path / "runs"


def test_a_pass_is_green_and_says_so(tmp_path: Path, runs: Path) -> None:
    job = Job(tmp_path, run="good")
    done = job.step("Replay and judge")
    assert done.returncode == 0, done.stderr
    assert {name: job.outputs[name] for name in ("verdict", "exit-code", "run", "report")} == {
        "verdict": "pass", "exit-code": "0", "run": str(runs / "good"), "report": "",
    }  # fmt: skip
    assert job.outputs["budget"].startswith("pass: ") and job.outputs["ratchet"].startswith("pass: ")
    assert "::error" not in done.stdout
    assert job.summary.startswith("## PASS: ")
    assert job.step("End as the gate did").returncode == 0


def test_a_failure_is_annotated_kept_and_ends_with_its_code(tmp_path: Path, runs: Path) -> None:
    job = Job(tmp_path, run="bad", against="good")
    done = job.step("Replay and judge")
    assert done.returncode == 0, "the report is kept before the job ends"
    first, *rest = done.stdout.splitlines()
    token = first.removeprefix("::stop-commands::")
    end = rest.index(f"::{token}::")
    assert any(line.startswith("FAIL  ") for line in rest[:end])
    assert all(line.startswith("::error title=paritygate%3A ") for line in rest[end + 1 :])
    assert 1 <= len(rest[end + 1 :]) <= 8
    assert job.outputs["verdict"] == "fail" and job.outputs["exit-code"] == "1"
    assert job.outputs["report"] == str(runs / "bad" / "report.html")
    assert job.summary.startswith("## FAIL: ") and "Against run good" in job.summary
    kept = job.steps["Keep the report"]
    assert "always()" in kept["if"] and kept["with"]["path"] == "${{ steps.gate.outputs.run }}"
    ended = job.step("End as the gate did")
    assert ended.returncode == 1
    assert ended.stdout == (
        "::error title=paritygate::exit code 1: drift over budget or regressed, or not everything covered\n"
    )


@pytest.mark.parametrize(
    ("inputs", "code", "meaning"),
    [
        ({"run": "no-such-run"}, 2, "usage"),
        ({"suite": "tiny"}, 2, "usage"),  # there are no budgets in this folder of goldens
        (
            {"run": "bad", "arguments": "--output-format junit"},
            1,
            "drift",
        ),  # the last one counts, as on any command line
    ],
)
def test_a_run_that_never_came_to_its_end_still_has_a_code(
    tmp_path: Path, runs: Path, inputs: dict[str, str], code: int, meaning: str
) -> None:
    job = Job(tmp_path, **inputs)
    assert job.step("Replay and judge").returncode == 0
    assert (job.outputs["exit-code"], job.outputs.get("run", "")) == (str(code), "")
    ended = job.step("End as the gate did")
    assert ended.returncode == code
    assert ended.stdout.startswith(f"::error title=paritygate::exit code {code}: {meaning}")


def test_inputs_become_the_command_line_and_nothing_else(tmp_path: Path) -> None:
    """A program in the place of paritygate writes down what it was called with."""
    job = Job(
        tmp_path, suite="tiny; echo owned >&2", cells="f32 x single x gpu", against="$(touch owned)", path="families",
        golden="elsewhere", arguments="--timeout 3600 `touch owned`",
    )  # fmt: skip
    stand_in = tmp_path / "bin" / "paritygate"
    stand_in.write_text(
        '#!/usr/bin/env bash\nprintf "<%s>" "$@"\n'
        'echo " $PARITYGATE_LOCKED $PARITYGATE_PATH $PARITYGATE_GOLDEN"\nexit 4\n'
    )
    stand_in.chmod(0o755)
    done = job.step("Replay and judge")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "<run><tiny; echo owned >&2><--cells><f32 x single x gpu><--against><$(touch owned)>"
        "<--output-format><github><--timeout><3600><`touch><owned`> 1 families elsewhere\n"
    )
    assert not (tmp_path / "owned").exists()
    assert job.step("End as the gate did").returncode == 4
    job.inputs["locked"] = "false"
    assert "  families elsewhere" in job.step("Replay and judge", PARITYGATE_LOCKED="").stdout


def test_install_gives_pip_its_words(tmp_path: Path) -> None:
    job = Job(tmp_path, install="-c constraints/py311.txt -e .[dev]")
    stand_in = tmp_path / "bin" / "python"
    stand_in.write_text('#!/usr/bin/env bash\nprintf "<%s>" "$@"\n')
    stand_in.chmod(0o755)
    done = job.step("Install")
    assert done.stdout == "<-m><pip><install><--disable-pip-version-check><-c><constraints/py311.txt><-e><.[dev]>"
