"""A process whose first act is the oracle of given weights, and then a peer."""

import subprocess
import sys
from pathlib import Path

from paritygate.catalog.select import policies

ROOT = Path(__file__).parents[3]

SCRIPT = """
from pathlib import Path

from paritygate.catalog.select import families
from paritygate.reference.build import Reference
from paritygate.store.golden import GoldenStore

store = GoldenStore(Path("golden"))
golden, family = store.read("tiny", "tiny-scout.long"), families()["llama4"]
weights = {name: store.tensor(ref) for name, ref in golden.weights.items()}
reference = Reference(family, family.preset("tiny-scout"), weights)
reference.oracle
print(*sorted(reference.peers))
"""


def test_the_reference_is_imported_before_float32_is_lifted() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True)
    with_peers = sorted(name for name, policy in policies().items() if policy.peer and not policy.floor)
    assert (found.stdout.split(), found.returncode) == (with_peers, 0), found.stderr
