"""Verbs that only look at files start light: the real command line runs in a child, and its sys.modules are read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HEAVY = ("torch", "transformers", "jax", "jaxlib", "flax", "pandas")
NOUNS = ("families", "cases", "sites", "cells", "metrics", "faults")
MARK = "\n--- sys.modules "

# What the console script does, and then a look at what that took.
CHILD = f"""
import json, sys
sys.argv[0] = "paritygate"
from paritygate.cli.main import main
try:
    code = main()
except SystemExit as exit:
    code = exit.code
print({MARK!r} + json.dumps([code or 0, sorted(sys.modules)]))
"""


def run_in_child(*arguments: str, program: str = CHILD) -> tuple[int, str, set[str]]:
    """Exit code, text on standard output and top-level modules imported by `paritygate *arguments`."""
    child = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    text, mark, last = child.stdout.rpartition(MARK)
    assert mark, child.stdout + child.stderr
    code, modules = json.loads(last)
    return code, text, {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], *(["list", noun] for noun in NOUNS)], ids=" ".join
)
def test_looking_imports_neither_torch_nor_jax(arguments: list[str]) -> None:
    code, text, modules = run_in_child(*arguments)
    assert code == 0, text
    assert text.strip(), "the verb said nothing"
    assert modules.isdisjoint(HEAVY), sorted(modules.intersection(HEAVY))


def test_the_check_can_fail() -> None:
    guilty = CHILD.replace("import json, sys", "import json, sys, pandas")
    _, _, modules = run_in_child("--help", program=guilty)
    assert modules.intersection(HEAVY) == {"pandas"}
