"""`golden`: list the store, verify it, remove what nothing names, add to manifests; compare two; pull and push."""

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paritygate.cli.options import Quiet
from paritygate.cli.remote import PlainHttp, trust_of
from paritygate.cli.verb import Context, Json, Settings, Verb, settings_of
from paritygate.core.errors import ExitCode, GoldenError, UsageError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paritygate.core.family import Case
    from paritygate.core.golden import Golden
    from paritygate.store.golden import Finding, GoldenStore


class Action(StrEnum):
    LS = "ls"
    VERIFY = "verify"
    GC = "gc"
    DESCRIBE = "describe"
    FLOORS = "floors"
    COMPARE = "compare"
    PULL = "pull"
    PUSH = "push"


WRITING = (Action.GC, Action.DESCRIBE, Action.FLOORS)
CARRYING = (Action.PULL, Action.PUSH)
QUIET = (Action.DESCRIBE, Action.FLOORS, *CARRYING)

What = Annotated[
    Action,
    typer.Argument(
        metavar="|".join(Action),
        help="List, verify, remove unused objects, add to manifests what the reference consists of or floors, compare, "
        "fetch from a remote, send to one.",
    ),
]
Suite = Annotated[
    str,
    typer.Argument(
        metavar="[SUITE]",
        help="For all but gc; all suites if left out. Of pull and push also a case, or a glob over either.",
    ),
]

Against = Annotated[str, typer.Option("--against", metavar="FOLDER", help="Of compare: a newer capture.")]


class OfPlatform(StrEnum):
    CPU = "cpu"
    GPU = "gpu"


Platform = Annotated[OfPlatform, typer.Option("--platform", help="Of floors: where the peers run.")]
RemoteUrl = Annotated[
    str,
    typer.Option(
        "--remote",
        metavar="URL",
        help="Of pull and push: s3://, gs://, a folder; http(s):// to pull; PARITYGATE_REMOTE if left out.",
    ),
]
Replace = Annotated[bool, typer.Option("--replace", help="Of pull and push: give up goldens that differ there.")]
Verify = Annotated[bool, typer.Option("--verify", help="Of pull and push: hash the objects that are there already.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Of pull and push: only show what would go.")]


def golden(
    context: Context,
    action: What,
    suite: Suite = "",
    platform: Platform = OfPlatform.CPU,
    quiet: Quiet = False,
    against: Against = "",
    remote: RemoteUrl = "",
    replace: Replace = False,
    verify: Verify = False,
    dry_run: DryRun = False,
    plain_http: PlainHttp = False,
    as_json: Json = False,
) -> ExitCode:
    from paritygate.store.golden import GoldenStore

    settings = settings_of(context)
    store = GoldenStore(settings.golden)
    if quiet and action not in QUIET:
        raise UsageError("nothing to be quiet about", where=f"golden {action} --quiet")
    if against and action is not Action.COMPARE:
        raise UsageError("only compare is with another folder", where=f"golden {action} --against {against}")
    if platform is not OfPlatform.CPU and action is not Action.FLOORS:
        raise UsageError("only floors are of a platform", where=action, try_="paritygate golden floors --platform gpu")
    if action in CARRYING:
        from paritygate.cli.carrying import Way, carry

        differing, there = ("replace" if replace else "refuse"), ("content" if verify else "size")
        way = Way(differing, there, "plan" if dry_run else "carry", trust_of(plain_http))
        return carry(settings, store, action.value, suite, remote or settings.remote, way, as_json)
    if remote or replace or verify or dry_run or plain_http:
        raise UsageError("only pull and push are with a remote", where=f"golden {action}")
    if suite and action is Action.GC:
        raise UsageError("gc takes no suite, for suites share objects", where=suite, try_="paritygate golden gc")
    if suite and suite not in store.suites():
        raise unknown_name("suite with goldens", suite, store.suites())
    if action is Action.COMPARE:
        from paritygate.cli.recapturing import compare_goldens

        return compare_goldens(settings, store, suite, against, as_json)
    if action is Action.FLOORS:
        return _floors(settings, store, suite, platform.value, as_json)
    do = {Action.LS: _ls, Action.VERIFY: _verify, Action.GC: _gc, Action.DESCRIBE: _describe}
    return do[action](settings, store, suite, as_json)


def _ls(settings: Settings, store: "GoldenStore", suite: str, as_json: bool) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json

    found = {name: store.cases(name) for name in ([suite] if suite else store.suites())}
    if as_json:
        say_json({name: {case: store.manifest_hash(name, case) for case in cases} for name, cases in found.items()})
        return ExitCode.PASS
    for name, cases in found.items():
        for case in cases:
            ports = len(store.read(name, case).ports)
            say(f"{name}/{case}  {plural(ports, 'port')}  sha256 {store.manifest_hash(name, case)[:16]}")
    total = sum(map(len, found.values()))
    say(f"{plural(total, 'golden')} in {settings.golden}", "next    paritygate golden verify")
    return ExitCode.PASS


def _verify(settings: Settings, store: "GoldenStore", suite: str, as_json: bool) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json

    names = [suite] if suite else store.suites()
    findings = store.verify(suite or None)
    findings += [finding for name in names for finding in _against_catalog(store, name)]
    findings += _unvouched(settings)
    total = sum(len(store.cases(name)) for name in names)
    if as_json:
        say_json({"goldens": total, "findings": findings})
    elif findings:
        say(*map(str, findings), plural(len(findings), "finding"))
        say(f"next    git checkout -- {settings.golden}, or paritygate capture the cases again")
    elif total:
        say(f"{plural(total, 'golden')} whole in {settings.golden}", "next    paritygate run")
    else:
        say(f"no goldens in {settings.golden}", "next    paritygate capture tiny")
    return ExitCode.GOLDEN if findings or not total else ExitCode.PASS


def _against_catalog(store: "GoldenStore", suite: str) -> list["Finding"]:
    """The catalog's cases of the suite that have no golden, or one of another spec. Without the suite: none."""
    from paritygate.catalog.select import families, spec_hash, suites
    from paritygate.store.golden import Finding

    known, present, findings = families(), store.cases(suite), []
    for case in suites().get(suite, ()):
        again = f"paritygate capture {case.id}"
        if case.id not in present:
            findings.append(Finding(f"{suite}/{case.id}", f"no golden of this case of the suite; {again}", ()))
            continue
        try:
            golden = store.read(suite, case.id)
        except GoldenError:
            continue  # found by the store already
        if golden.spec != spec_hash(case, known[case.family]):
            problem = f"golden is stale: its spec is not what the catalog says today; {again}"
            findings.append(Finding(f"{suite}/{case.id}", problem, ()))
    return findings


def _unvouched(settings: Settings) -> list["Finding"]:
    """Accepted lines that nobody accepted."""
    from paritygate.store.baseline import unvouched
    from paritygate.store.golden import Finding

    why = "accepted, or changed, by another hand than `paritygate approve`: golden/audit.jsonl does not know the line"
    return [Finding(f"baseline {row}", why, ()) for row in unvouched(settings.golden / "baselines")]


def _gc(settings: Settings, store: "GoldenStore", suite: str, as_json: bool) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json

    removed = store.gc()
    if as_json:
        say_json({"removed": removed})
    else:
        say(*(f"removed {name}" for name in removed))
        say(f"{plural(len(removed), 'unused object')} removed", "next    paritygate golden verify")
    return ExitCode.PASS


def _describe(settings: Settings, store: "GoldenStore", suite: str, as_json: bool) -> ExitCode:
    chosen = _chosen(store, suite)

    from paritygate.reference.describe import describe  # torch: not before every name is known

    return _rewritten(describe, chosen, settings, store, as_json, lambda golden: golden.computation)


def _floors(settings: Settings, store: "GoldenStore", suite: str, platform: str, as_json: bool) -> ExitCode:
    chosen = _chosen(store, suite)

    from paritygate.reference.floors import add_floors

    add = partial(add_floors, platform=platform)
    return _rewritten(add, chosen, settings, store, as_json, lambda golden: golden.peers)


def _chosen(store: "GoldenStore", suite: str) -> "dict[str, list[Case]]":
    """The cases of the catalog that have a golden, by suite."""
    from paritygate.catalog.select import suites

    known = suites()
    for name in (names := [suite] if suite else store.suites()):
        if name not in known:
            raise unknown_name("suite", name, list(known))
    return {name: [case for case in known[name] if case.id in store.cases(name)] for name in names}


def _rewritten(
    rewrite: "Callable[..., list[Golden]]",
    chosen: "Mapping[str, list[Case]]",
    settings: Settings,
    store: "GoldenStore",
    as_json: bool,
    shown: "Callable[[Golden], Any]",
) -> ExitCode:
    from paritygate.cli.output import note, plural, say, say_json
    from paritygate.cli.progress import progress

    found: dict[str, list[Golden]] = {}
    for name, cases in chosen.items():
        with progress(settings, name) as going:
            tell = (lambda line: None) if as_json else going.say
            found[name] = rewrite(cases, name, store, tell, progress=going)
    if as_json:
        say_json({name: {golden.case.id: shown(golden) for golden in goldens} for name, goldens in found.items()})
        return ExitCode.PASS
    total = sum(map(len, found.values()))
    say(f"{plural(total, 'golden')} rewritten in {settings.golden}")
    note(settings, f"next    paritygate run {next(iter(found))}")
    return ExitCode.PASS


def written(given: "Mapping[str, Any]") -> str:
    """Which goldens change. A push adds to a remote and changes none here; with --replace it gives up what is there."""
    if given["action"] in CARRYING and given["dry_run"]:
        return ""
    if given["action"] is Action.PUSH:
        return "goldens of a remote" if given["replace"] else ""
    return "goldens" if given["action"] in (*WRITING, Action.PULL) else ""


VERB = Verb(
    "golden",
    golden,
    "The store of goldens: list, verify, collect garbage, describe, add floors, compare with another; pull and push.",
    writes=written,
)
