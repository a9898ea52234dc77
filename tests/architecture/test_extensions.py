"""One file is one extension: of each kind one is written in a temporary directory, and then used from end to end."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from paritygate.core.golden import Golden
from paritygate.core.registry import EXTENSION_POINTS
from paritygate.core.run import Run
from paritygate.store.golden import GoldenStore

from toy.workplace import Said

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "tests" / "toy"

METRIC = '''"""Mean shift: whether the candidate lies above the golden or below it, on average."""

import numpy as np

from paritygate.core.site import Kind
from paritygate.metrics.base import Metric


def compute(golden: np.ndarray, got: np.ndarray, dtype: str) -> float:
    return float(abs(np.mean(got - golden)))


METRIC = Metric("mean_shift", (Kind.FLOAT,), unit="value", better="lower", compute=compute, absolute=True)
'''

POLICY = '''"""The dtype policy `bf16-lifted`: bfloat16 whose islands are float64."""

from paritygate.core.cell import DtypePolicy

POLICY = DtypePolicy("bf16-lifted", "bfloat16", "float64", peer="bfloat16", x64=True, doc="bfloat16, float64 islands.")
'''

FAULTS = '''"""A fault of the toy's norm, and a variant that computes the same."""

from paritygate.core.fault import Fault, FaultGroup, Patch

NORM = "toy_jax:Norm.__call__"
GROUP = FaultGroup(
    "toy-norm",
    "toy",
    (
        Fault("eps-tenfold", "semantic", (Patch(NORM, "1e-5", "1e-4"),), "toy/toy-2.plain", ("layers.0.norm:out",)),
        Fault("square-by-power", "harmless", (Patch(NORM, "wide * wide", "wide**2"),), "toy/toy-2.plain"),
    ),
)
'''

SECTION = '''"""Who signs the report."""

from paritygate.report.data import ReportData
from paritygate.report.parts import Part, Section, Text


def build(data: ReportData) -> list[Part]:
    return [Text(f"{len(data.rows)} values, <seen> by nobody")]


SECTION = Section("signature", 90, "Signed & sealed", build)
'''

VERB = '''"""`hello`: says hello."""

from paritygate.cli.verb import Context, Json, Verb
from paritygate.core.errors import ExitCode


def hello(context: Context, name: str, as_json: Json = False) -> ExitCode:
    print(f"hello {name}")
    return ExitCode.PASS


VERB = Verb("hello", hello, "Say hello.")
'''


def family_text() -> str:
    """A family `deep`: the toy with a third layer, in a suite of its own; its code is the toy's, by dotted name."""
    text = (TOY / "families" / "toy.py").read_text()
    for old, new in (
        ('name="toy"', 'name="deep"'),
        ('"toy-2",', '"deep-3",'),
        ('"layers": 2}', '"layers": 3}'),
        ('layers=(("block",), ("block",))', 'layers=(("block",), ("block",), ("block",))'),
        ('{"toy": ("toy-2.plain",)}', '{"deep": ("deep-3.plain",)}'),
    ):
        assert text.count(old) == 1, f"{old} is not in the toy's spec: this test needs another edit"
        text = text.replace(old, new)
    return text


# folder of the extension directory: (the file, its text)
EXTENSIONS = {
    "metrics": ("mean_shift.py", METRIC),
    "dtypes": ("bf16_lifted.py", POLICY),
    "families": ("deep.py", family_text()),
    "faults": ("norm.py", FAULTS),
    "sections": ("signature.py", SECTION),
    "verbs": ("hello.py", VERB),
}


@dataclass(frozen=True)
class Extended:
    """Folders of goldens and runs, and one directory for each extension; the toy's directory is always there."""

    root: Path

    def directory(self, kind: str) -> Path:
        return self.root / f"more-{kind}"

    def call(self, *arguments: str, kinds: Iterable[str] = EXTENSIONS, code: int | None = 0) -> Said:
        directories = [TOY, *map(self.directory, kinds)]
        environ = os.environ | {
            "PARITYGATE_PATH": os.pathsep.join(map(str, directories)),
            "PARITYGATE_GOLDEN": str(self.root / "golden"),
            "PARITYGATE_RUNS": str(self.root / "runs"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        program = "import sys; from paritygate.cli.main import main; sys.exit(main())"
        child = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=self.root,
            env=environ,
            capture_output=True,
            text=True,
            timeout=240,
        )
        said = Said(child.returncode, child.stdout, child.stderr)
        assert code in (None, said.code), f"{arguments}\n{said.out}\n{said.err}"
        return said

    def golden(self, suite: str, case: str) -> Golden:
        return GoldenStore(self.root / "golden").read(suite, case)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    """Every extension written, one file each, and both suites captured with all of them there."""
    made = Extended(tmp_path_factory.mktemp("extended"))
    for kind, (name, text) in EXTENSIONS.items():
        folder = made.directory(kind) / kind
        folder.mkdir(parents=True)
        (folder / name).write_text(text)
    (made.root / "golden").mkdir()
    shutil.copy(ROOT / "golden" / "budgets.toml", made.root / "golden")
    made.call("capture", "toy", "deep")
    return made


@pytest.fixture(scope="module")
def run(extended: Extended) -> Run:
    """A run of the toy with all extensions, the new dtype policy among its cells."""
    said = extended.call("run", "toy", "--cells", "f64,bf16-lifted", "--json").json
    assert said["problems"] == []
    return Run.open(Path(said["folder"]))


def test_every_extension_point_is_proved_here() -> None:
    assert set(EXTENSIONS) == set(EXTENSION_POINTS)


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_an_extension_is_exactly_one_file(extended: Extended, run: Run, kind: str) -> None:
    files = [path for path in extended.directory(kind).rglob("*") if path.is_file()]
    assert [path.name for path in files] == [EXTENSIONS[kind][0]]


def test_metric(extended: Extended, run: Run) -> None:
    listed = {metric["name"]: metric for metric in extended.call("list", "metrics", "--json").json}
    assert listed["mean_shift"]["unit"] == "value"
    floats = [drift for drift in run.drifts() if drift.kind == "float"]
    assert floats and all("mean_shift" in drift.metrics for drift in floats), "measured by the workers"
    assert any(drift.metrics["mean_shift"] > 0 for drift in floats)
    out = next(port for port in extended.golden("toy", "toy-2.plain").ports if port.address == "head:out")
    assert all("mean_shift" in floors for floors in out.floors["chained"].values()), "and by the capture, as floor"
    assert "mean_shift" in run.rows().columns


def test_dtype_policy(extended: Extended, run: Run) -> None:
    cells = {cell["cell"]: cell for cell in extended.call("list", "cells", "--json").json}
    assert cells["bf16-lifted/single/cpu"]["doc"] == "bfloat16, float64 islands."
    rows = [row for row in run.judged() if row.drift.cell == "bf16-lifted/single/cpu"]
    assert {row.drift.mode for row in rows} == {"isolated", "chained"}
    assert len(rows) == 16 and all(row.verdict == "pass" for row in rows)
    assert {row.drift.dtype for row in rows} == {"bfloat16"}
    out = next(row for row in rows if (row.drift.address, row.drift.mode) == ("head:out", "chained"))
    assert out.worst_judgement and out.worst_judgement.floor > 0, "judged against its own peer"


def test_dtype_policy_that_came_after_the_capture_asks_for_one(extended: Extended) -> None:
    folder = extended.directory("late") / "dtypes"
    folder.mkdir(parents=True)
    (folder / "late.py").write_text(POLICY.replace("bf16-lifted", "bf16-late"))
    bad = extended.call(
        "run", "toy", "--cells", "bf16-late", "--mode", "isolated", "--json", kinds=["late"], code=1
    ).json
    assert bad["summary"]["verdicts"] == {"error": 8}
    assert "paritygate golden floors" in bad["first_divergences"][0]["row"]["reason"]


def test_family(extended: Extended) -> None:
    said = extended.call("run", "deep", "--cells", "f64,f32", "--json").json
    assert said["summary"]["verdicts"] == {"pass": 44}, "2 cells, 2 modes, 11 values: three layers"
    sites = {row.drift.site for row in Run.open(Path(said["folder"])).judged()}
    assert "layers.2.norm" in sites


def test_faults(extended: Extended) -> None:
    listed = {fault["name"]: fault for fault in extended.call("list", "faults", "toy", "--json").json}
    assert listed["eps-tenfold"]["group"] == "toy-norm"
    said = extended.call("mutate", "toy-norm", "--cells", "f64,bf16", "--json").json
    cells = {(mutant["fault"], mutant["cell"].partition("/")[0]): mutant for mutant in said["mutants"]}
    fault = cells["eps-tenfold", "f64"]
    assert (fault["caught"], fault["blamed"], fault["diagnosis"]) == (True, "layers.0.norm:out", "semantic")
    assert [cells["square-by-power", dtype]["caught"] for dtype in ("f64", "bf16")] == [False, False]
    assert said["ok"] and said["kill_rate"] == 1


def test_verb(extended: Extended) -> None:
    assert extended.call("hello", "Ada").out == "hello Ada\n"
    assert "\n  hello " in extended.call("--help").out


def test_section(extended: Extended, run: Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert "Signed &amp; sealed" in page
    assert "32 values, &lt;seen&gt; by nobody" in page
    said = extended.call("report", run.folder.name, "--text", "signature").out
    assert "SIGNED & SEALED" in said and "32 values, <seen> by nobody" in said


def test_without_their_files_there_is_none_of_it(extended: Extended, run: Run) -> None:
    def without(*arguments: str, code: int = 0) -> Said:
        return extended.call(*arguments, kinds=(), code=code)

    assert "mean_shift" not in without("list", "metrics").out
    assert "unknown dtype policy: bf16-lifted" in without("run", "toy", "--cells", "bf16-lifted", code=2).err
    assert "unknown suite, preset or case: deep" in without("run", "deep", code=2).err
    assert "unknown fault, group or kind: eps-tenfold" in without("mutate", "eps-tenfold", code=2).err
    assert "No such command 'hello'" in without("hello", "Ada", code=2).err
    assert "signature" in without("report", run.folder.name, "--text", "signature", code=2).err
    again = shutil.copytree(run.folder, extended.root / "runs" / "again")
    without("report", "again")
    assert "Signed &amp; sealed" not in (again / "report.html").read_text()


def test_two_directories_may_not_hide_each_others_files(extended: Extended) -> None:
    twin = extended.directory("twin")
    shutil.copytree(extended.directory("verbs"), twin)
    said = extended.call("hello", "Ada", kinds=["verbs", "twin"], code=2)
    assert said.err == (
        f"two files of one name: {twin / 'verbs' / 'hello.py'}\n"
        f"  got       {extended.directory('verbs') / 'verbs' / 'hello.py'}\n"
        "  try       rename one of them\n"
    )


def test_a_broken_extension_is_named(extended: Extended) -> None:
    folder = extended.directory("broken") / "metrics"
    folder.mkdir(parents=True)
    (folder / "broken.py").write_text("from paritygate.metrics.base import Metrik\n")
    said = extended.call("list", "metrics", kinds=["broken"], code=2)
    assert said.err.startswith(f"file cannot be imported: {folder / 'broken.py'}\n  got       ImportError: ")
