"""Precision lint: what a candidate's program does with its dtypes, read off without a number."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

RULES: Mapping[str, str] = {
    "round-trip": "a float is rounded to 16 bits and widened again, with nothing computed in between",
    "low-math": "an exponential, a root, a quotient or a sum in 16 bits",
    "accumulation": "a product of 16-bit operands that leaves to the compiler what it is summed in",
    "island": "floats wider than the model's are computed with",
    "narrow": "floats narrower than the model's",
    "low-constant": "a constant that 16 bits round",
    "low-position": "whole numbers as 16-bit floats: positions, counts",
    "low-mask": "a mask that is added in 16 bits",
    "weak-type": "a result whose dtype gives way to that of what it meets next",
    "compiled-accumulation": "XLA sums in 16 bits",
    "excess-precision": "XLA left out a rounding to 16 bits that the program asks for",
    "compiled-float64": "XLA computes in float64, in a narrower model",
}


@dataclass(frozen=True)
class Finding:
    """What one rule found at one line of the candidate, in one case and cell. Written to `findings.jsonl`.

    `where` is the function, `module:Class.method`; of a round trip that which rounds and that which widens, joined by
    ` -> `. `line` is `file.py:88`; `what` says it of this place. `of` is what it was found in: the `forward` or the
    `backward` pass as it was traced, or what XLA made of a pass, `compiled`.
    """

    case: str
    cell: str
    rule: str
    where: str
    line: str
    what: str
    of: str = "forward"


@dataclass(frozen=True)
class Expected:
    """Findings that are as they must be: those whose rule, function, program and cell match the globs.

    `reason` says why.
    """

    rule: str
    where: str
    reason: str
    of: str = "*"
    cells: str = "*"

    def fits(self, finding: Finding) -> bool:
        pairs = (
            (finding.rule, self.rule),
            (finding.where, self.where),
            (finding.of, self.of),
            (finding.cell, self.cells),
        )
        return all(fnmatchcase(text, glob) for text, glob in pairs)


@dataclass(frozen=True)
class Noted:
    """One finding of a run, whatever cases and cells it was made in; `reason` is empty where it was not expected."""

    family: str
    rule: str
    where: str
    line: str
    what: str
    cells: tuple[str, ...]
    cases: tuple[str, ...]
    reason: str = ""
    of: str = "forward"

    @property
    def kind(self) -> str:
        """The rule, and what it was found in where that is not the forward pass: `island, backward`."""
        return self.rule if self.of == "forward" else f"{self.rule}, {self.of}"

    @property
    def text(self) -> str:
        """`low-math  moe.py:69 (jax_llama4.moe:Llama4Router.__call__): logistic in bfloat16  (bf16/single/cpu)`"""
        return f"{self.kind}  {self.line} ({self.where}): {self.what}  ({', '.join(self.cells)})"


@dataclass(frozen=True)
class Lint:
    """What the lint made of a run. Written to `lint.json`.

    `new` fail the gate: findings of families that say what to expect, and did not expect these. `listed` are those of
    families that say nothing. `idle` are expectations, rule and function, that nothing was found for.
    """

    new: tuple[Noted, ...] = ()
    expected: tuple[Noted, ...] = ()
    listed: tuple[Noted, ...] = ()
    idle: tuple[str, ...] = ()
