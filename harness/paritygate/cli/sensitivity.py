"""What `dtypes` does: variations of a dtype policy run, summed, mixed within a budget, and recorded.

Writes `sensitivity.json` and `sensitivity.html` into a folder of the runs, and `golden/sensitivity.json` and
`golden/DTYPES.md` where asked to.
"""

import json
import secrets
import time
from pathlib import Path

from paritygate.cli.progress import progress
from paritygate.cli.verb import Settings
from paritygate.core.codec import from_json, readable
from paritygate.core.errors import UsageError
from paritygate.core.run import write_atomic
from paritygate.core.sensitivity import Cost, Sensitivity, Variation, summed


def sweep(
    settings: Settings,
    text: str,
    suite: str,
    low: str,
    budget: float | None,
    workers: int | None,
    timeout_s: float,
    compile_cache: Path | None,
) -> tuple[Sensitivity, Path]:
    """What was found, and the page that shows it."""
    from importlib.metadata import version

    from paritygate.catalog.select import families, policies
    from paritygate.cli.stages import select
    from paritygate.judge import sensitivity as judge
    from paritygate.replay.vary import replay_variations
    from paritygate.report.sensitivity import render_html
    from paritygate.store.golden import GoldenStore

    store, known = GoldenStore(settings.golden), policies()
    suite, cases = select(text, suite, store.suites())
    family, narrow = families()[cases[0].family], judge.low_policy(known, low)
    cases = judge.cases_with_logits(family, cases)
    wanted = judge.variations(family, cases, known, narrow)
    started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = settings.runs / f"{started}-dtypes-{secrets.token_hex(2)}"

    with progress(settings) as shown:

        def run(part: str, variations: list[Variation]) -> list[Cost]:
            return replay_variations(
                variations, suite, cases, store, folder / part, extensions=settings.extensions,
                workers=workers, timeout_s=timeout_s, compile_cache=compile_cache, progress=shown,
            )  # fmt: skip

        costs = run("parts", wanted)
        totals = summed(costs)
        limit, why = (budget, "as asked for") if budget is not None else judge.default_budget(totals, low)

        def measure(raised: tuple[str, ...]) -> Cost:
            name = " ".join(raised) or "nothing"
            variation = Variation("mix", name, judge.mixed(narrow, family.aspects, raised))
            return summed(run(f"mix-{secrets.token_hex(2)}", [variation]))["mix", name]

        mixes = tuple(judge.cheapest(totals, family.aspects, limit, measure))
    found = Sensitivity(
        suite,
        tuple(case.id for case in cases),
        low,
        limit,
        why,
        family.aspects,
        tuple(costs),
        mixes,
        {name: policy.floor_from for name, policy in known.items()},
        {name: version(name) for name in ("paritygate", "jax", "jaxlib")},
    )
    write_atomic(folder / "sensitivity.json", readable(found).encode())
    page = folder / "sensitivity.html"
    write_atomic(page, render_html(found, folder.name, started).encode())
    return found, page


def read_sensitivity(path: Path) -> Sensitivity:
    """What was recorded. Raises UsageError where it cannot be read."""
    try:
        return from_json(Sensitivity, json.loads(path.read_text(encoding="utf-8")), path.name)
    except (OSError, ValueError) as reason:
        raise UsageError(
            "sensitivity cannot be read", where=str(path), got=str(reason), try_="paritygate dtypes --write"
        ) from reason


def write_sensitivity(settings: Settings, found: Sensitivity) -> Path:
    """Records it, and returns the path of the Markdown. Raises UsageError for a part of a suite."""
    from paritygate.catalog.select import suites
    from paritygate.report.sensitivity import render_markdown

    whole = [case.id for case in suites()[found.suite]]
    if list(found.cases) != whole:
        raise UsageError("part of a suite is not recorded", where=found.suite, expected=", ".join(whole))
    write_atomic(settings.golden / "sensitivity.json", readable(found).encode())
    markdown = settings.golden / "DTYPES.md"
    write_atomic(markdown, render_markdown(found).encode())
    return markdown
