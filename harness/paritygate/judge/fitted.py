"""The text of the fitted part of `budgets.toml`: what `budget fit` puts between its two marks, the rest as it is."""

from paritygate.core.budget import Budget, Fitted
from paritygate.core.errors import UsageError

FIRST = "# Written by `paritygate budget fit --write`, down to the next such line: do not edit."
LAST = "# End of what `paritygate budget fit --write` wrote."
_COLUMNS = ("kind", "dtype", "mode", "metric", "values_below", "factor", "minimum_eps_x", "rows", "largest")


def with_fitted(text: str, fitted: Fitted) -> str:
    """The file's text with the part between the marks replaced; raises UsageError where the marks are not there."""
    if text.count(FIRST) != 1 or text.count(LAST) != 1 or text.index(FIRST) > text.index(LAST):
        raise UsageError(
            "no place for fitted budgets",
            where="budgets.toml",
            expected=f"one line {FIRST!r} and, further down, one line {LAST!r}",
        )
    head, tail = text[: text.index(FIRST)], text[text.index(LAST) :]
    return f"{head}{FIRST}\n\n{_text(fitted)}\n{tail}"


def _text(fitted: Fitted) -> str:
    lines = ["[fitted]", f"reason = {_quoted(fitted.reason)}"]
    for name in ("suites", "variants"):
        lines.append(f"{name} = [{', '.join(map(_quoted, getattr(fitted, name)))}]")
    lines += [f"seeds = {fitted.seeds}", "rules = ["]
    return "\n".join([*lines, *(f"  {{ {_line(rule)} }}," for rule in fitted.rules), "]", ""])


def _line(rule: Budget) -> str:
    values = {name: getattr(rule, name) for name in _COLUMNS if name != "values_below" or rule.values_below}
    return ", ".join(f"{name} = {_quoted(v) if isinstance(v, str) else repr(v)}" for name, v in values.items())


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
