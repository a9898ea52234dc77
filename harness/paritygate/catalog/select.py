"""Choosing among what the catalog holds: families, suites, cases and cells by name, glob or expression."""

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib import resources
from itertools import product

from paritygate.catalog.meshes import MESHES, parse_layout
from paritygate.catalog.photos import photo_of
from paritygate.catalog.targets import parse_target
from paritygate.core.cell import COMPILED, Cell, DtypePolicy, MeshLayout
from paritygate.core.errors import UsageError, unknown_name
from paritygate.core.family import Case, Family, Prompt
from paritygate.core.fault import Fault, FaultGroup
from paritygate.core.registry import discover

ALL_DTYPES = "all-dtypes"
ALL_MESHES = "all-meshes"
DEFAULT_CELLS = "f64,f32,f16,bf16 x single x cpu"
PLATFORMS: tuple[str, ...] = ("cpu", "gpu", "tpu")


def families() -> dict[str, Family]:
    return discover("paritygate.catalog.families", "FAMILY", Family)


def policies() -> dict[str, DtypePolicy]:
    return discover("paritygate.catalog.dtypes", "POLICY", DtypePolicy)


def meshes() -> dict[str, MeshLayout]:
    """The layouts that are audited; `layout_of` knows the names of others too."""
    return dict(MESHES)


def layout_of(name: str) -> MeshLayout:
    """The mesh layout of a name, `fsdp4tp2-explicit`; raises UsageError on one that is none."""
    try:
        return MESHES.get(name) or parse_layout(name)
    except UsageError:
        raise unknown_name("mesh layout", name, list(MESHES)) from None


def suites() -> dict[str, tuple[Case, ...]]:
    """Suite name to its cases, of several families where they name it alike.

    Raises UsageError where two of its cases have one id, since a golden is kept by suite and id.
    """
    found: dict[str, tuple[Case, ...]] = {}
    for family in families().values():
        for name, case_ids in family.suites.items():
            cases = tuple(Case.parse(family.name, case_id) for case_id in case_ids)
            if twice := {case.id for case in found.get(name, ())} & set(case_ids):
                raise UsageError("two families have one case", where=f"suite {name}", got=", ".join(sorted(twice)))
            found[name] = found.get(name, ()) + cases
    return found


def cells_of(suite: str) -> str:
    """The cells that a suite is run in where nobody says which."""
    return next((family.cells[suite] for family in families().values() if suite in family.cells), DEFAULT_CELLS)


def select_cases(text: str, suite: str | None = None) -> list[Case]:
    """The cases that `text` names, within `suite` where given: a suite, a preset, a case, or a glob over case ids;
    within a suite also several of the latter, with commas between."""
    known = suites()
    if suite is None and text in known:
        return list(known[text])
    if suite is not None and suite not in known:
        raise unknown_name("suite", suite, list(known))
    within = known[suite] if suite else tuple(dict.fromkeys(case for cases in known.values() for case in cases))
    found: set[Case] = set()
    for part in text.split(",") if suite else [text]:
        named = [case for case in within if case.preset == part or fnmatchcase(case.id, part)]
        if not named:
            names = dict.fromkeys([*known, *(case.preset for case in within), *(case.id for case in within)])
            raise unknown_name("suite, preset or case", part, list(names))
        found.update(named)
    return [case for case in within if case in found]


def suite_of(case: Case) -> str:
    """The first suite that holds a case, where its golden lives."""
    for name, cases in suites().items():
        if case in cases:
            return name
    raise unknown_name("case", case.id, [c.id for cases in suites().values() for c in cases])


def fault_groups() -> dict[str, FaultGroup]:
    """Raises UsageError where two groups name a fault alike."""
    groups = discover("paritygate.catalog.faults", "GROUP", FaultGroup)
    group_of: dict[str, str] = {}
    for group in groups.values():
        for fault in group.faults:
            if fault.name in group_of:
                raise UsageError(
                    "two faults of one name", where=fault.name, got=f"{group_of[fault.name]}, {group.name}"
                )
            group_of[fault.name] = group.name
    return groups


def select_faults(globs: Iterable[str] = ()) -> list[tuple[FaultGroup, Fault]]:
    """The faults whose name, group or kind one of the globs matches, each at least one; all where there is no glob."""
    known = [(group, fault) for group in fault_groups().values() for fault in group.faults]
    names = dict.fromkeys(name for group, fault in known for name in (group.name, fault.kind, fault.name))
    globs = list(globs)
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise unknown_name("fault, group or kind", glob, list(names))
    return [
        (group, fault)
        for group, fault in known
        if not globs or any(fnmatchcase(name, glob) for glob in globs for name in (fault.name, group.name, fault.kind))
    ]


def fault_of(name: str) -> Fault:
    """The fault of that name. Raises UsageError where the catalog has none."""
    known = {fault.name: fault for group in fault_groups().values() for fault in group.faults}
    if name not in known:
        raise unknown_name("fault", name, list(known))
    return known[name]


def spread(faults: Iterable[tuple[FaultGroup, Fault]]) -> list[tuple[FaultGroup, Fault]]:
    """The first fault of each group, and the first of each kind, in their order."""
    faults = list(faults)
    first: dict[str, Fault] = {}
    for group, fault in faults:
        first.setdefault(f"group {group.name}", fault)
        first.setdefault(f"kind {fault.kind}", fault)
    return [(group, fault) for group, fault in faults if fault in first.values()]


def case_of(fault: Fault) -> tuple[str, Case]:
    """The suite and the case that show a fault."""
    suite, _, name = fault.case.partition("/")
    known = [f"{suite}/{case.id}" for suite, cases in suites().items() for case in cases]
    if fault.case not in known:
        raise unknown_name("case", fault.case, known)
    return suite, next(case for case in suites()[suite] if case.id == name)


def text_of(prompt: Prompt) -> bytes:
    """The text that a prompt is cut from. Raises UsageError where the catalog has none of that name."""
    path = resources.files("paritygate.catalog") / "texts" / f"{prompt.text}.txt"
    if not path.is_file():
        raise UsageError("no such text", where=prompt.text, expected="a file of catalog/texts")
    return path.read_bytes()


def spec_hash(case: Case, family: Family) -> str:
    """What a golden of the case must carry to be of today's spec, its text and its photos included."""
    prompt = family.prompt(case.prompt)
    cut_from = [hashlib.sha256(text_of(prompt)).hexdigest()]
    cut_from += [photo_of(picture.photo).sha256 for picture in prompt.pictures]
    return case.spec_hash(family, " ".join(cut_from))


def select_cells(expression: str) -> list[Cell]:
    """`"f64,bf16 x single x cpu"` to cells; parts left out, from the right, are `single` and `cpu`.

    A comma separates alternatives, ` x ` the three axes, `;` further products; `all-dtypes` is every dtype policy,
    `all-meshes` every mesh layout of the catalog. A target, `v5p:4x4x4`, may stand in the place of a platform. Raises
    UsageError on a name that the catalog does not have.
    """
    cells: dict[Cell, None] = {}
    for part in expression.replace(COMPILED, "").split(";"):
        axes = [[name.strip() for name in axis.split(",")] for axis in part.replace("/", " x ").split(" x ")]
        axes += [["single"], ["cpu"]][len(axes) - 1 :]
        if len(axes) != 3 or not all(name for axis in axes for name in axis):
            raise UsageError("bad cell expression", where=repr(expression), expected=repr(DEFAULT_CELLS))
        axes[0] = [found for name in axes[0] for found in (policies() if name == ALL_DTYPES else [name])]
        axes[1] = [found for name in axes[1] for found in (meshes() if name == ALL_MESHES else [name])]
        axes = [list(dict.fromkeys(axis)) for axis in axes]  # or their product has a cell a million times
        targets = [str(parse_target(name)) for name in axes[2] if ":" in name]
        platforms = (*PLATFORMS, *targets)
        for noun, axis, names in (("dtype policy", axes[0], policies()), ("platform", axes[2], platforms)):
            for name in axis:
                if name not in names:
                    raise unknown_name(noun, name, list(names))
        for name in axes[1]:
            layout_of(name)
        cells |= dict.fromkeys(Cell(*names) for names in product(*axes))
    return list(cells)
