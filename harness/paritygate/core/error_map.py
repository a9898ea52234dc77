"""The difference of a value block by block, compact enough for a line of results, and the edges to draw on it."""

import base64
import zlib
from dataclasses import dataclass
from functools import cached_property
from math import prod

from paritygate.core.errors import UsageError

MOST_BLOCKS, LONGEST = 1024, 96  # of a map, and of one side of it

# What a byte of a map says where it is no level: no element compared, all equal, not finite.
NOTHING, EQUAL, NONFINITE = 0, 1, 255
ONE = 130  # the level of a difference as large as the golden itself; two levels are a factor of two


@dataclass(frozen=True)
class MapAxis:
    """An axis of a value along one side of its map: `step` indices a block, counted from the index `first` on."""

    letter: str
    size: int
    step: int
    first: int = 0

    @property
    def blocks(self) -> int:
        return -(-self.size // self.step)

    def indices(self, block: int) -> tuple[int, int]:
        """The first and the last index in a block."""
        start = block * self.step
        return self.first + start, self.first + min(start + self.step, self.size) - 1


@dataclass(frozen=True)
class Edge:
    """Where parts of an axis meet that have a `name`: at each index that `every` divides, but the first."""

    axis: str
    name: str
    every: int


@dataclass(frozen=True)
class ErrorMap:
    """The rms of a value's difference in blocks, relative to the rms of the whole golden; of a choice, to one.

    `down` and `across` are the axes along its sides, the outer first; no block lies over two indices of an outer axis,
    unless it is that axis that is too long. Tokens, and keys without tokens beside them, are counted from the first
    real one of their row. `packed` has a byte a block, line by line, as base64 of zlib: see `ratio`.
    """

    down: tuple[MapAxis, ...]
    across: tuple[MapAxis, ...]
    packed: str

    @property
    def shape(self) -> tuple[int, int]:
        return prod(axis.blocks for axis in self.down), prod(axis.blocks for axis in self.across)

    @cached_property
    def levels(self) -> bytes:
        """Raises UsageError where they are not those of the axes: a file of results may be anybody's."""
        try:
            found = zlib.decompressobj().decompress(base64.b64decode(self.packed), MOST_BLOCKS)
        except (ValueError, zlib.error) as reason:
            raise UsageError("an error map cannot be read", got=str(reason)) from reason
        blocks = prod(self.shape) if all(min(a.step, a.size) > 0 for a in (*self.down, *self.across)) else 0
        if len(found) != blocks:
            raise UsageError(
                "an error map is not as large as its axes",
                expected=f"a level for each of {blocks:,} blocks",
                got=f"{len(found):,}, of which {MOST_BLOCKS:,} are read",
            )
        return found

    @property
    def lines(self) -> list[bytes]:
        height, width = self.shape
        return [self.levels[i * width : (i + 1) * width] for i in range(height)]

    @classmethod
    def of(cls, down: tuple[MapAxis, ...], across: tuple[MapAxis, ...], levels: bytes) -> "ErrorMap":
        return cls(down, across, base64.b64encode(zlib.compress(levels, 9)).decode())

    def place(self, block: int) -> tuple[tuple[MapAxis, tuple[int, int]], ...]:
        """The axes of a block, by its number, each with the first and the last index in it."""
        found: list[tuple[MapAxis, tuple[int, int]]] = []
        for axis in reversed((*self.down, *self.across)):
            block, within = divmod(block, axis.blocks)
            found.append((axis, axis.indices(within)))
        return tuple(reversed(found))


def ratio(level: int) -> float:
    """What a level says, from 2^-64 to 2^62, to within a fifth; 0 for equal.

    >>> ratio(126)
    0.25
    """
    return 2.0 ** ((level - ONE) / 2.0) if level > EQUAL else 0.0
