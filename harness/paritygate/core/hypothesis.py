"""A way to be wrong, as a change of the reference; and which of them make a difference of the candidate vanish."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class Hypothesis:
    """The candidate computes exactly what the reference would if it were changed so.

    `says` completes the sentence "the candidate …". `sites` are patterns (fnmatch) of the sites whose own values it
    changes: it is tried there first, and left out of a preset that has none of them, or whose config is not as `needs`
    says. Keys of the config are dotted.

    `config` overrides values, `scaled` multiplies them and `shifted` adds to them. `weights` maps a name pattern to an
    operation of `reference/overrides.py`; `exchanged` holds (name pattern, name part, other part): a weight changes
    places with the one whose name has the other part instead; `copied` gives a weight the value of another. `inputs`
    adds to a case input, `reversed` turns it round along an axis. `functions` maps a function or method of the
    reference, `module:name` or `module:Class.name`, to what is called in its place, with the original in front of its
    arguments.
    """

    name: str
    says: str
    sites: tuple[str, ...]
    needs: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    scaled: Mapping[str, float] = field(default_factory=dict)
    shifted: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    exchanged: tuple[tuple[str, str, str], ...] = ()
    copied: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, int] = field(default_factory=dict)
    reversed: Mapping[str, int] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)

    def concerns(self, site: str) -> bool:
        return any(fnmatchcase(site, pattern) for pattern in self.sites)


@dataclass(frozen=True)
class Explanation:
    """A hypothesis under which the blamed value agrees, and how many of all values agree under it."""

    hypothesis: str
    says: str
    agreed: int


@dataclass(frozen=True)
class Counterfactual:
    """What the hypotheses make of the first divergence of one case. A line of `explanations.jsonl`.

    `address` is the value to blame. `values` counts what the candidate shows in the mode, `agreed` what of it agrees
    with the golden. `explanations` are the best, all that are equally good: those that explain every value or, where
    none does, those that explain the blamed value and most others. `reason` is why no hypothesis was tried.
    """

    case: str
    cell: str
    mode: str
    address: str
    values: int = 0
    agreed: int = 0
    tried: int = 0
    explanations: tuple[Explanation, ...] = ()
    reason: str = ""

    @property
    def whole(self) -> bool:
        """Whether an explanation leaves nothing unexplained."""
        return any(explanation.agreed == self.values for explanation in self.explanations)

    @property
    def text(self) -> str:
        """`rope by halves: the candidate rotates halves of a head; so 412 of 412 values agree, else 131`"""
        if self.reason:
            return f"no counterfactual: {self.reason}"
        if not self.explanations:
            return f"none of {self.tried} hypotheses makes {self.address} agree"
        said = " or ".join(f"{each.hypothesis} (the candidate {each.says})" for each in self.explanations)
        count = f"{self.explanations[0].agreed} of {self.values} values agree under it, {self.agreed} without"
        return f"{said}: {count}" + ("" if self.whole else "; the rest is still to be explained")
