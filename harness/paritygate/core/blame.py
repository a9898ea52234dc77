"""Which lines of a candidate a drift comes from: how much each adds, or where it first parts from the reference."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlamedLine:
    """One line of the candidate, and what part of a value's drift comes from what it rounds.

    `line` is `moe.py:88`, `what` which of its equations rounds most. `raised` is the drift when this line alone
    computes in a wider dtype; None where that was not tried. `caller` is, where that is a constant, the line that calls
    the function: it may have rounded it.
    """

    line: str
    function: str
    what: str
    share: float
    raised: float | None = None
    caller: str = ""

    @property
    def text(self) -> str:
        """`moe.py:88 (Llama4Router.__call__) logistic in bfloat16`"""
        return f"{self.line} ({self.function}) {self.words}"

    @property
    def words(self) -> str:
        return f"{self.what}, from {self.caller}" if self.caller else self.what


@dataclass(frozen=True)
class Parting:
    """The first value, in program order, at which a candidate parts from the reference.

    `line` gives the value at `address`; `after` is the last value before it that agrees. `between` are the lines of the
    `equations` that it is computed by, in order, from the values in `reads`, which agree, or from what was given.
    """

    address: str
    line: str
    function: str
    drift: float
    after: str = ""
    between: tuple[str, ...] = ()
    equations: int = 0
    reads: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """`attention.py:52 (attention_weights) gives layers.0.attn:inner.probs: the first value that parts, …`"""
        after = f", after {self.after}, which agrees" if self.after else ""
        said = (
            f"{self.line} ({self.function}) gives {self.address}, the first value that parts ({self.drift:.2g}){after}"
        )
        if not self.between:
            return said
        lines = " … ".join(dict.fromkeys((self.between[0], self.between[-1])))
        count = f"{self.equations} equation" + ("" if self.equations == 1 else "s")
        reads = f", from {', '.join(self.reads)}" if self.reads else ""
        return f"{said}; {lines}: {count}{reads}"


@dataclass(frozen=True)
class Blame:
    """Where the drift of one value comes from, line by line. A line of `blames.jsonl`.

    Drifts are rel_l2 from the golden: `drift` as the run measured it, `lockstep` of the same program evaluated equation
    by equation, `exact` of that program in float64. `lines` are ranked by their share of what is between the last two;
    `inputs` and `weights` are the shares of their being rounded to the cell's dtypes, and `remainder` is what no line
    does alone. `unequal` is how far the sum of all parts is from the lockstep, relative to the drift: not zero means
    that the shares cannot be trusted. Raised lines computed in `raised_to`; `own_dtype` are primitives that could not
    be computed in float64, and so add nothing. Of a value that float64 computes otherwise too, there is a `parting` in
    place of shares. `reason` is why there is neither.
    """

    case: str
    cell: str
    mode: str
    address: str
    drift: float = 0.0
    lockstep: float = 0.0
    exact: float = 0.0
    lines: tuple[BlamedLine, ...] = ()
    inputs: float = 0.0
    weights: float = 0.0
    remainder: float = 0.0
    unequal: float = 0.0
    raised_to: str = ""
    own_dtype: tuple[str, ...] = ()
    parting: Parting | None = None
    reason: str = ""

    @property
    def best(self) -> BlamedLine | None:
        """The line that gives back most where it is raised; None where none gives a hundredth of the drift."""
        raised = [line for line in self.lines if line.raised is not None]
        best = min(raised, key=lambda line: line.raised or 0.0, default=None)
        return best if best and (best.raised or 0.0) <= 0.99 * self.lockstep else None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.case, self.cell, self.mode, self.address)

    @property
    def text(self) -> str:
        """`norms.py:38 (Llama4TextRMSNorm.__call__) rsqrt in bfloat16: 71 % of the drift; raised to float32 …`"""
        if self.reason:
            return f"no line is blamed: {self.reason}"
        if self.parting is not None:
            return self.parting.text
        if not self.lines:
            return "no line rounds anything"
        first = self.lines[0]
        after = f", {first.raised:.3g} with it in {self.raised_to}" if first.raised is not None else ""
        return f"{first.text}: {first.share:.0%} of the drift, {self.drift:.3g}{after}"


@dataclass(frozen=True)
class BlamedFault:
    """What lines are blamed for the first row under one planted fault of precision, and the lines that it put in.

    `blame` is None where nothing differs by precision.
    """

    fault: str
    cell: str
    planted: tuple[str, ...] = ()
    blame: Blame | None = None

    @property
    def place(self) -> int:
        """The rank of the first line that was planted, from 1; 0 where none is blamed."""
        return next((at for at, line in enumerate(self._lines, 1) if self._is_planted(line)), 0)

    @property
    def gives_most(self) -> bool:
        """Whether no line gives back more than a planted one where it is raised."""
        best = self.blame.best if self.blame else None
        return best is not None and self._is_planted(best)

    @property
    def is_right(self) -> bool:
        """Whether a planted line is the first, or the one to raise; true of a row that cannot be taken apart."""
        return self.place == 1 or self.gives_most or bool(self.blame and self.blame.reason)

    @property
    def _lines(self) -> tuple[BlamedLine, ...]:
        return self.blame.lines if self.blame else ()

    def _is_planted(self, line: BlamedLine) -> bool:
        return line.line in self.planted or line.caller in self.planted
