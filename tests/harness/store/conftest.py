"""Two stores, a remote between them, and no waiting."""

from pathlib import Path

import pytest

from paritygate.store import transfer
from paritygate.store.golden import GoldenStore
from paritygate.store.remote import Remote

from toy.remotes import Memory, fill


@pytest.fixture
def here(tmp_path: Path) -> GoldenStore:
    return fill(GoldenStore(tmp_path / "here"), 1.0, "plain", "long")


@pytest.fixture
def there(tmp_path: Path) -> GoldenStore:
    """A store that has nothing yet."""
    return GoldenStore(tmp_path / "there")


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def remote(memory: Memory) -> Remote:
    return Remote("memory://goldens", "memory", memory, "/goldens")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "WAITS_S", (0.0,) * len(transfer.WAITS_S))
