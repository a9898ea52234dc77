"""`benchmarks/bench.py` runs and compares like with like. What it measures is the machine's, and asserted nowhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

from limits import limit

ROOT = Path(__file__).parents[2]


def test_the_quick_size_prints_all_tables_and_the_models_agree(tmp_path):
    written = tmp_path / "bench.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "bench.py"), "--quick", "--json", str(written)]
    done = subprocess.run(
        [*command, "--dtypes", "f32", "--hf", "sdpa", "--threads", "1"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "impl")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for heading in ("tokens/s", "tiles/s", "jax / hf sdpa", "mixture, ms", "routed / alone", "load average"):
        assert heading in done.stdout
    facts = json.loads(written.read_text())
    result = facts["results"]["f32"]
    assert facts["threads"] == 1
    for count in ("parameters", "vision_parameters"):
        assert len({child[count] for child in result["about"].values()}) == 1
    # Both have four layers.
    assert set(result["apart"]) == {"logits", "features"}
    for what, distances in result["apart"].items():
        assert 0 < distances["hf sdpa"] <= limit("model", "f32", terms=4), what
    for job, names in result["seconds"].items():
        for name, seconds in names.items():
            assert len(seconds) == 2 and min(seconds) > 0, (job, name)


def test_products_are_timed_both_ways(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "products.py"), "--quick", "--repeats", "1", "--as-it-is"]
    path = os.pathsep.join(str(ROOT / folder) for folder in ("harness", "impl"))
    done = subprocess.run(
        [*command, "--dtypes", "f16"], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for said in ("capture takes bfloat16", "native ms", "x @ y", "bmm", "F.linear", "tiny-scout.long, whole pass"):
        assert said in done.stdout


def test_a_child_that_fails_ends_the_benchmark_with_its_name(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (ROOT / "benchmarks").glob("*.py"):
        (broken / file.name).write_text(file.read_text())
    (broken / "jax_child.py").write_text("raise SystemExit(7)")
    (broken / "hf_child.py").write_text("import sys\nif sys.argv[3] != 'write':\n    print('{}')\n    input()")
    done = subprocess.run([sys.executable, str(broken / "bench.py"), "--quick"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "bench: jax ended with exit code 7" in done.stderr
