"""What the package brings in and does on import, seen from a fresh process."""

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import jax
before = dict(jax.config.values)
import jax_llama4
for info in pkgutil.iter_modules(jax_llama4.__path__):
    importlib.import_module(f"jax_llama4.{info.name}")
assert jax.config.values == before, "an import changed the JAX configuration"
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "paritygate", "jax_llama4"}))
"""


def test_imports_neither_torch_nor_the_harness_and_changes_no_setting():
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["jax_llama4"]
