"""What goes between the store of goldens here and a remote, a folder of goldens elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# What becomes of a golden on the side that it goes to.
Change = Literal["new", "equal", "replaced"]
# What becomes of a golden that is another one on the other side.
Differing = Literal["refuse", "replace"]
# By what an object counts as there: its size, or all of its bytes, read and hashed.
There = Literal["size", "content"]


@dataclass(frozen=True)
class Transfer:
    """What one `golden pull` or `push` carries.

    `changes` are of every golden that was asked for, by `SUITE/CASE`; `manifests` the files of those that are not
    equal. `objects` are the bytes of each object that goes, once, by the first golden that names it; `there` is how
    many more these goldens name, which the other side has.
    """

    changes: Mapping[str, Change]
    manifests: Mapping[str, bytes]
    objects: Mapping[str, Mapping[str, int]]
    there: int

    @property
    def objects_n(self) -> int:
        return sum(map(len, self.objects.values()))

    @property
    def objects_bytes(self) -> int:
        return sum(sum(sizes.values()) for sizes in self.objects.values())
