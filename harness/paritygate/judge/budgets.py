"""Reads `golden/budgets.toml`: all that is wrong with the file is said at once."""

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from paritygate.catalog.select import PLATFORMS
from paritygate.core.budget import BaselineRule, Budget, Budgets, Fitted, in_order
from paritygate.core.cell import Mode
from paritygate.core.codec import from_json
from paritygate.core.errors import UsageError
from paritygate.core.histogram import LEAST, MOST, TAIL
from paritygate.judge.calibrate import FEWEST, factor_of, fitted_name
from paritygate.metrics.base import metrics

_PATTERNS = ("dtype", "mode", "site", "port", "case", "kind")
_NUMBERS = ("factor", "minimum_eps_x", "limit", "beyond_eps_x", "largest")
_COUNTS = ("values_below", "rows", "seeds")
_LISTS = ("suites", "variants", "platforms")
_EVIDENCE = ("rows", "largest")
_RULE_KEYS = tuple(f.name for f in fields(Budget) if f.name not in _EVIDENCE)
_FITTED_KEYS = ("kind", "dtype", "mode", "metric", "values_below", "factor", "minimum_eps_x", *_EVIDENCE)
_BASELINE_KEYS = tuple(f.name for f in fields(BaselineRule))
_TABLES = ("baseline", "kinds", "rule", "fitted", "fallback")


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

    problems: list[str] = _unknown_keys("file", data, _TABLES)
    baseline, kinds = data.get("baseline"), data.get("kinds", {})
    if not isinstance(baseline, Mapping):
        problems.append("file: table [baseline] is missing")
    else:
        problems += _check("[baseline]", baseline, _BASELINE_KEYS, required=_BASELINE_KEYS)
        if isinstance(baseline.get("factor"), int | float) and baseline["factor"] < 1:
            problems.append(f"[baseline]: factor {baseline['factor']} is below 1")
    if not isinstance(kinds, Mapping) or not all(map(_is_texts, kinds.values())):
        problems.append("[kinds]: each kind must be a list of patterns of sites")
        kinds = {}
    if not isinstance(data.get("rule"), list):
        problems.append("file: there is no [[rule]] table")
    by_hand: dict[str, list[Budget]] = {}
    for part in ("rule", "fallback"):
        by_hand[part], found = _rules(part, data.get(part, []), known, kinds)
        problems += found
    fitted, found = _fitted(data["fitted"], known, kinds) if "fitted" in data else (None, [])
    problems += found
    if not problems:
        problems += _between(in_order([*by_hand["rule"], *(fitted.rules if fitted else ()), *by_hand["fallback"]]))
    if problems:
        raise UsageError(
            f"{len(problems)} problem{'s' * (len(problems) > 1)} in budgets",
            where=str(path),
            got="\n            ".join(problems),
        )
    return Budgets(
        tuple(by_hand["rule"]),
        BaselineRule(float(data["baseline"]["factor"]), data["baseline"]["reason"]),
        {kind: tuple(patterns) for kind, patterns in kinds.items()},
        fitted,
        tuple(by_hand["fallback"]),
    )


def _rules(part: str, tables: Any, known: list[str], kinds: Mapping[str, Any]) -> tuple[list[Budget], list[str]]:
    """The rules of `[[rule]]` or `[[fallback]]` tables, and what is wrong with them."""
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        return [], [f"file: {part} must be [[{part}]] tables"]
    rules, problems = [], []
    for number, table in enumerate(tables, 1):
        where = f"{part} {number}" + (f" {table['name']!r}" if "name" in table else "")
        found = _check(where, table, _RULE_KEYS, required=("name", "metric", "reason"))
        found = found or _check_rule(where, table, known, kinds)
        problems += found
        if not found:
            rules.append(from_json(Budget, table, where))
    return rules, problems


def _fitted(table: Any, known: list[str], kinds: Mapping[str, Any]) -> tuple[Fitted | None, list[str]]:
    """What `budget fit` wrote, each factor held against the evidence beside it."""
    keys = tuple(f.name for f in fields(Fitted))
    if not isinstance(table, Mapping):
        return None, ["[fitted]: must be a table"]
    problems = _check("[fitted]", {k: v for k, v in table.items() if k != "rules"}, keys, required=keys[1:])
    lines = table.get("rules")
    if not isinstance(lines, list) or not all(isinstance(line, Mapping) for line in lines):
        return None, [*problems, "[fitted]: rules must be a list of tables"]
    rules = []
    for number, line in enumerate(lines, 1):
        where, required = f"[fitted]: rule {number}", tuple(k for k in _FITTED_KEYS if k != "values_below")
        found = _check(where, line, _FITTED_KEYS, required) or _check_rule(where, line, known, kinds)
        problems += found
        if found:
            continue
        rule = from_json(Budget, {**line, "name": fitted_name(**_named(line)), "reason": _evidence(line)}, where)
        rules.append(rule)
        if rule.rows < FEWEST:
            problems.append(f"{where}: {rule.rows} rows are no evidence, at least {FEWEST} are")
        elif rule.factor != (wanted := factor_of(rule.rows, rule.largest)):
            problems.append(f"{where}: factor {rule.factor:g} is not the {wanted:g} that its evidence gives")
    if problems:
        return None, problems
    return replace(from_json(Fitted, {**table, "rules": []}, "[fitted]"), rules=tuple(rules)), []


def _named(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in ("kind", "dtype", "mode", "metric", "values_below") if key in line}


def _evidence(line: Mapping[str, Any]) -> str:
    return f"The farthest of {line['rows']} values of harmless variants: {line['largest']:.3g}× the noise."


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) and v.strip() for v in value)


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
        if key in _COUNTS:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                found.append(f"{where}: {key} must be a whole number from 0 up, got {value!r}")
        elif key in _LISTS:
            if not _is_texts(value):
                found.append(f"{where}: {key} must be a list of texts, got {value!r}")
        elif key in _NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                found.append(f"{where}: {key} must be a number from 0 up, got {value!r}")
        elif key in known and (not isinstance(value, str) or not value.strip()):
            found.append(f"{where}: {key} must be a text that says something, got {value!r}")
    return found


def _check_rule(where: str, table: Mapping[str, Any], known: list[str], kinds: Mapping[str, Any]) -> list[str]:
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
    if strange := sorted(set(table.get("platforms", ())) - set(PLATFORMS)):
        found.append(f"{where}: platforms {', '.join(map(repr, strange))} are none of {', '.join(PLATFORMS)}")
    kind = table.get("kind", "*")
    if kind != "*" and not any(fnmatchcase(name, kind) for name in kinds):
        found.append(f"{where}: kind {kind!r} matches none of {', '.join(kinds) or 'no [kinds]'}")
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


def _between(rules: Sequence[Budget]) -> list[str]:
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
    if earlier.platforms and not (later.platforms and set(later.platforms) <= set(earlier.platforms)):
        return False
    wider = not earlier.values_below or 0 < later.values_below <= earlier.values_below
    return wider and all(getattr(earlier, p) in ("*", getattr(later, p)) for p in _PATTERNS)
