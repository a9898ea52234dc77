"""Files on disk: which there are, what a line or a value of each is, and its fields as JSON, from the dataclasses."""

import collections.abc
import dataclasses
import types
import typing
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from paritygate.core.blame import Blame
from paritygate.core.budget import Accepted, Approval, BaselineRule, Budget, Fitted
from paritygate.core.compilation import Compilation
from paritygate.core.coverage import Coverage, Inspection
from paritygate.core.drift import Drift, Kept, Row
from paritygate.core.golden import GOLDEN_FORMAT, Golden
from paritygate.core.hypothesis import Counterfactual
from paritygate.core.lint import Finding, Lint
from paritygate.core.mutant import Mutant
from paritygate.core.program import Collective, Program, ProgramChanges, Replicated
from paritygate.core.project import Arrival, Pin, ProjectInfo
from paritygate.core.run import RUN_FORMAT, RunInfo
from paritygate.core.sensitivity import Sensitivity

from reference_pages.markdown import (
    UndocumentedError,
    anchor,
    code,
    comments,
    default,
    documentation,
    is_noun,
    prose,
    table,
)

Place = Literal["run", "golden", "budgets", "programs", "service"]


@dataclass(frozen=True)
class Stored:
    """One file that is written: its path in its folder, what one value of it is, and how many it holds."""

    path: str
    record: type
    holds: Literal["one value", "one value a line", "one table", "tables"]
    written_by: str
    key: str = ""  # under which a value stands, where a file mixes several


FILES: dict[Place, tuple[Stored, ...]] = {
    "run": (
        Stored("run.json", RunInfo, "one value", "the replay; the judge adds its last fields"),
        Stored("drifts.jsonl", Drift, "one value a line", "the replay, as each comes"),
        Stored("inspections.jsonl", Inspection, "one value a line", "the replay"),
        Stored("findings.jsonl", Finding, "one value a line", "the replay: the precision lint"),
        Stored("programs.jsonl", Program, "one value a line", "the replay, of cells with several devices"),
        Stored("values.jsonl", Kept, "one value a line", "a replay that is asked for values, which are in `values/`"),
        Stored("compilations.jsonl", Compilation, "one value a line", "a run of the suite `full`, in place of drifts"),
        Stored("rows.jsonl", Row, "one value a line", "the judge, whole"),
        Stored("coverage.json", Coverage, "one value", "the judge"),
        Stored("lint.json", Lint, "one value", "the judge"),
        Stored("programs.json", ProgramChanges, "one value", "the judge"),
        Stored("explanations.jsonl", Counterfactual, "one value a line", "`run` and `explain`"),
        Stored("blames.jsonl", Blame, "one value a line", "`run` and `explain`"),
    ),
    "golden": (
        Stored("SUITE/CASE.json", Golden, "one value", "`capture`"),
        Stored("baselines/PLATFORM.jsonl", Accepted, "one value a line", "`approve`"),
        Stored("audit.jsonl", Approval, "one value a line", "`approve`, which only adds"),
        Stored("mutations.jsonl", Mutant, "one value a line", "`mutate --write`"),
        Stored("sensitivity.json", Sensitivity, "one value", "`dtypes --write`"),
    ),
    "budgets": (
        Stored("[baseline]", BaselineRule, "one table", "a person"),
        Stored("[[rule]], [[fallback]]", Budget, "tables", "a person"),
        Stored("[fitted]", Fitted, "one table", "`budget fit --write`"),
    ),
    "programs": (
        Stored("SUITE/CELL.jsonl", Program, "one value a line", "`programs --accept`", "program"),
        Stored("SUITE/CELL.jsonl", Collective, "one value a line", "`programs --accept`", "collective"),
        Stored("SUITE/CELL.jsonl", Replicated, "one value a line", "`programs --accept`", "replicated"),
    ),
    "service": (
        Stored("projects/NAME/project.json", ProjectInfo, "one value", "the service, when the project is made"),
        Stored("projects/NAME/runs/RUN/upload.json", Arrival, "one value", "the service, when the run arrives"),
        Stored("projects/NAME/runs/RUN/pin.json", Pin, "one value", "the service, of a run that is pinned"),
    ),
}  # fmt: skip


def table_of_files(place: Place) -> str:
    rows = [(code(each.path), each.holds, each.written_by, _link(each.record)) for each in FILES[place]]
    return table(("file", "holds", "written by", "noun"), rows)


def files(place: Place) -> str:
    """One heading a file, with what its noun says and all of its fields as JSON."""
    parts = []
    for each in FILES[place]:
        key = f", under the key `{each.key}`" if each.key else ""
        parts.append(f"## {code(each.path)}{f': {each.key}' if each.key else ''}")
        parts.append(f"{each.holds.capitalize()}{key}: {_link(each.record)}.")
        parts.append(prose(documentation(each.record, each.record.__name__)))
        parts.append(json_fields(each.record))
    return "\n\n".join(parts) + "\n"


def records(*names: str) -> str:
    """The fields as JSON of nouns by name, for what a page says beside its files."""
    known = {cls.__name__: cls for places in FILES.values() for each in places for cls in inner_nouns(each.record)}
    for name in names:
        if name not in known:
            raise UndocumentedError(f"no file holds a noun {name!r}")
    parts = [f"## {name}\n\n{prose(documentation(known[name], name))}\n\n{json_fields(known[name])}" for name in names]
    return "\n\n".join(parts) + "\n"


def format_versions() -> str:
    """The versions of the formats that carry one."""
    of_golden = ("a golden", code("SUITE/CASE.json"), str(GOLDEN_FORMAT))
    rows = [("a run folder", code("run.json"), str(RUN_FORMAT)), of_golden]
    return table(("format", "says it in `format` of", "version"), rows)


def json_fields(cls: Any) -> str:
    hints, beside = typing.get_type_hints(cls), comments(cls)
    rows = []
    for field in dataclasses.fields(cls):
        optional = default(field) or "must be there"
        rows.append((code(field.name), as_json(hints[field.name]), optional, prose(beside.get(field.name, ""))))
    columns = 4 if any(row[3] for row in rows) else 3
    return table(("key", "JSON", "if left out", "")[:columns], [row[:columns] for row in rows])


def as_json(hint: Any) -> str:
    """What a type is in JSON, as `core/codec.py` writes and reads it. Raises TypeError where the codec would."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    plain = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Any: "any value"}
    if hint in plain:
        return plain[hint]
    if origin is typing.Literal:
        return " or ".join(f'`"{arg}"`' for arg in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(as_json, args))
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return f"array of {as_json(args[0])}"
        return f"array: {', '.join(map(as_json, args))}"
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        return f"object: {as_json(args[0])} → {as_json(args[1])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _link(hint)
    if dataclasses.is_dataclass(hint):
        return f"object {_link(hint)}"
    raise TypeError(f"JSON of {hint} is not known")


def inner_nouns(hint: Any) -> set[Any]:
    """The dataclasses that a value of a type can hold, itself among them."""
    found, left = set(), [hint]
    while left:
        one = left.pop()
        left += typing.get_args(one)
        if dataclasses.is_dataclass(one) and one not in found:
            found.add(one)
            left += typing.get_type_hints(one).values()
    return found


def _link(cls: Any) -> str:
    return f"[{cls.__name__}](#{anchor(cls)})" if is_noun(cls) else code(cls.__name__)
