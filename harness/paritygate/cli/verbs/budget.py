"""`budget`: limits from the reference's harmless variants, and which rules a run came near to."""

from enum import StrEnum
from typing import Annotated

import typer

from paritygate.cli.options import Quiet
from paritygate.cli.verb import Context, Json, Verb, settings_of
from paritygate.core.errors import ExitCode, UsageError, unknown_name

NEAR = 0.5  # the part of a limit that is not near it
SEEDS = 4
_REASON = (
    "The farthest harmless variant of the reference (sums in another order, another kernel, library of functions or "
    "number of threads, the batch turned round; chained and by gradients also other weights and tokens), taken to be "
    "the largest of so many normal draws of log ρ; the limit is where one right value in ten million is. At least 1.1."
)


class Action(StrEnum):
    FIT = "fit"
    LS = "ls"


What = Annotated[Action, typer.Argument(metavar="fit|ls", help="Fit limits, or list the rules of a run.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME...]", help="Suites for fit, all if left out; a run for ls.")
]
Variants = Annotated[str, typer.Option("--variants", help="Names of variants, separated by commas; all if left out.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Draws of weights and tokens, the goldens' own among them.")]
Write = Annotated[bool, typer.Option("--write", help="Replace the fitted part of budgets.toml.")]


def budget(
    context: Context,
    action: What,
    names: Names = None,
    variants: Variants = "",
    seeds: Seeds = SEEDS,
    write: Write = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> ExitCode:
    if action is Action.FIT:
        return _fit(context, names or [], [v.strip() for v in variants.split(",") if v.strip()], seeds, write, as_json)
    if variants or write or quiet:
        option = "--variants" if variants else "--write" if write else "--quiet"
        raise UsageError("ls fits nothing", where=option, try_="paritygate budget fit")
    if names and len(names) > 1:
        raise UsageError("ls lists one run", got=" ".join(names))
    return _ls(context, (names or ["latest"])[0], as_json)


def _fit(context: Context, names: list[str], variants: list[str], seeds: int, write: bool, as_json: bool) -> ExitCode:
    from paritygate.catalog.select import suites
    from paritygate.cli.output import note, plural, say, say_json
    from paritygate.cli.progress import progress
    from paritygate.cli.stages import read_budgets
    from paritygate.core.budget import Fitted
    from paritygate.core.run import write_atomic
    from paritygate.judge.calibrate import calibrated
    from paritygate.judge.fitted import with_fitted
    from paritygate.store.golden import GoldenStore

    settings, known = settings_of(context), suites()
    for name in names:
        if name not in known:
            raise unknown_name("suite", name, list(known))
    budgets = read_budgets(settings)
    path = settings.golden / "budgets.toml"
    text = path.read_text(encoding="utf-8")

    from paritygate.reference.fit import (  # torch: not before every name is known
        ANOTHER_SEED,
        draws,
        fits,
        variant_names,
    )

    chosen = {name: [case for case in known[name] if fits(case)] for name in names or known}
    chosen = {name: cases for name, cases in chosen.items() if cases}

    used = variant_names(chosen, variants)
    with progress(settings) as shown:
        tell = (lambda line: None) if as_json else shown.say
        rules = calibrated(draws(chosen, GoldenStore(settings.golden), used, seeds, tell, shown), budgets)
    if seeds > 1:
        used.append(ANOTHER_SEED)
    fitted = Fitted(tuple(rules), _REASON, tuple(chosen), tuple(used), seeds)
    written = with_fitted(text, fitted)
    if write:
        write_atomic(path, written.encode())
    if as_json:
        say_json(fitted)
        return ExitCode.PASS
    before = {rule.name: rule.factor for rule in (budgets.fitted.rules if budgets.fitted else ())}
    note(settings, f"{'rule':<48} {'rows':>8}  {'farthest':>8}  {'limit':>6}  before")
    for rule in rules:
        was = f"{before[rule.name]:g}×" if rule.name in before else "–"
        note(settings, f"{rule.name:<48} {rule.rows:>8,}  {rule.largest:>7.3f}×  {rule.factor:>5g}×  {was}")
    gone = sorted(before.keys() - {rule.name for rule in rules})
    note(settings, *(f"{name} is no more" for name in gone))
    say(f"{plural(len(rules), 'rule')} from {plural(len(used), 'variant')} and {plural(seeds, 'seed')}")
    note(settings, f"next    {'git diff golden/budgets.toml' if write else 'the same command with --write'}")
    return ExitCode.PASS


def _ls(context: Context, run: str, as_json: bool) -> ExitCode:
    from paritygate.cli.output import plural, say, say_json
    from paritygate.cli.runs import find_run, name_of, row_id
    from paritygate.cli.stages import read_budgets
    from paritygate.judge.usage import usage

    settings = settings_of(context)
    found = find_run(settings, run)
    used = usage(found.judged(), read_budgets(settings))
    if as_json:
        say_json(
            [
                {"rule": u.rule, "rows": u.rows, "share": u.share, "nearest": row_id(u.nearest) if u.nearest else ""}
                for u in used
            ]
        )
        return ExitCode.PASS
    idle = [u for u in used if u.share < NEAR]
    for u in used:
        where = row_id(u.nearest) if u.nearest else "decided nothing"
        say(f"{u.rule:<48} {u.rows:>7,}  {u.share:>5.0%}  {where}")
    say(f"{plural(len(used), 'rule')}, of which nothing came near (half the limit) {len(idle)}:")
    say(*(f"  {u.rule}" for u in idle), f"next    paritygate show {name_of(settings, found)}")
    return ExitCode.PASS


VERB = Verb(
    "budget",
    budget,
    "Fit limits to the reference's harmless variants; list what came near them.",
    writes=lambda given: "budgets" if given["write"] else "",
)
