"""Reads `golden/budgets.toml`: all that is wrong with the file is said at once."""

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from paritygate.core.budget import BaselineRule, Budget, Budgets
from paritygate.core.cell import Mode
from paritygate.core.codec import from_json
from paritygate.core.errors import UsageError
from paritygate.core.histogram import LEAST, MOST, TAIL
from paritygate.metrics.base import metrics

_PATTERNS = ("dtype", "mode", "site", "port", "case")
_NUMBERS = ("factor", "minimum_eps_x", "limit", "beyond_eps_x")
_RULE_KEYS = tuple(f.name for f in fields(Budget))
_BASELINE_KEYS = tuple(f.name for f in fields(BaselineRule))


def read_budgets(path: Path, known_metrics: Iterable[str] | None = None) -> Budgets:
    """The rules of `path`, checked; raises UsageError with every problem of the file.

    `known_metrics` are the names a rule may judge; by default every metric there is.
    """
    known = sorted({TAIL, *(metrics() if known_metrics is None else known_metrics)})
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            "no budgets",
            where=str(path),
            expected="a TOML file of [[rule]] tables",
            try_=f"cp golden/budgets.toml {path.parent}, in a clone of paritygate, or write your own",
        ) from None
    except (OSError, ValueError) as reason:
        raise UsageError("budgets cannot be read", where=str(path), got=str(reason)) from reason

    problems: list[str] = _unknown_keys("file", data, ("baseline", "rule"))
    baseline, tables = data.get("baseline"), data.get("rule", [])
    if not isinstance(baseline, Mapping):
        problems.append("file: table [baseline] is missing")
    else:
        problems += _check("[baseline]", baseline, _BASELINE_KEYS, required=_BASELINE_KEYS)
        if isinstance(baseline.get("factor"), int | float) and baseline["factor"] < 1:
            problems.append(f"[baseline]: factor {baseline['factor']} is below 1")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, Mapping) for table in tables):
        problems.append("file: there is no [[rule]] table")
        tables = []
    rules: list[Budget] = []
    for number, table in enumerate(tables, 1):
        where = f"rule {number}" + (f" {table['name']!r}" if "name" in table else "")
        found = _check(where, table, _RULE_KEYS, required=("name", "metric", "reason")) or _check_rule(
            where, table, known
        )
        problems += found
        if not found:
            rules.append(from_json(Budget, table, where))
    problems += _between(rules)
    if problems:
        raise UsageError(
            f"{len(problems)} problem{'s' * (len(problems) > 1)} in budgets",
            where=str(path),
            got="\n            ".join(problems),
        )
    return Budgets(tuple(rules), BaselineRule(float(data["baseline"]["factor"]), data["baseline"]["reason"]))


def _unknown_keys(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> list[str]:
    found = []
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            found.append(f"{where}: unknown key {key!r}, {hint}")
    return found


def _check(where: str, table: Mapping[str, Any], known: tuple[str, ...], required: tuple[str, ...]) -> list[str]:
    """Keys and types of one table."""
    found = _unknown_keys(where, table, known)
    found += [f"{where}: {key} is missing" for key in required if key not in table]
    for key, value in table.items():
        if key in _NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                found.append(f"{where}: {key} must be a number from 0 up, got {value!r}")
        elif key in known and (not isinstance(value, str) or not value.strip()):
            found.append(f"{where}: {key} must be a text that says something, got {value!r}")
    return found


def _check_rule(where: str, table: Mapping[str, Any], known: list[str]) -> list[str]:
    """What a rule's keys mean together. The types are right by now."""
    found = []
    if table["metric"] not in known:
        near = difflib.get_close_matches(table["metric"], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        found.append(f"{where}: unknown metric {table['metric']!r}, {hint}")
    mode = table.get("mode", "*")
    if not any(Budget("", "", "", mode=mode).fits("", "", m, "", "", "") for m in Mode):
        found.append(f"{where}: mode {mode!r} matches none of {', '.join(Mode)}")
    if table["metric"] == TAIL:
        found += _check_tail(where, table)
    elif "beyond_eps_x" in table:
        found.append(f"{where}: beyond_eps_x has a meaning for metric {TAIL!r} only")
    if "limit" in table:
        found += [f"{where}: {key} has no meaning next to limit" for key in _NUMBERS[:2] if key in table]
    elif table.get("factor", 0) <= 0:
        found.append(f"{where}: needs a factor above 0, or a limit")
    return found


def _check_tail(where: str, table: Mapping[str, Any]) -> list[str]:
    least, most = 2.0**LEAST, 2.0**MOST
    beyond = table.get("beyond_eps_x", 0)
    found = []
    if not least <= beyond <= most or math.frexp(beyond)[0] != 0.5:
        found.append(f"{where}: beyond_eps_x must be a power of two from 2^{LEAST} to 2^{MOST}, got {beyond!r}")
    if not 0 <= table.get("limit", -1) < 1:
        found.append(f"{where}: needs a limit below 1, the fraction of elements that may lie beyond")
    return found


def _between(rules: list[Budget]) -> list[str]:
    """Names used twice, and rules that an earlier one leaves nothing to decide."""
    found = []
    for later, rule in enumerate(rules):
        for earlier in rules[:later]:
            if earlier.name == rule.name:
                found.append(f"rule {rule.name!r}: there are two of this name")
            elif _shadows(earlier, rule):
                found.append(f"rule {rule.name!r}: never decides, rule {earlier.name!r} above fits whatever it fits")
    return found


def _shadows(earlier: Budget, later: Budget) -> bool:
    if earlier.metric != later.metric or (earlier.limit is None and later.limit is not None):
        return False  # a factor leaves the oracle's own dtype to a limit below it
    return all(getattr(earlier, p) in ("*", getattr(later, p)) for p in _PATTERNS)
