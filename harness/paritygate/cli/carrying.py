"""What `golden pull` and `golden push` do: goldens between the store and a remote, and what is said of it."""

import shlex
from typing import TYPE_CHECKING, Literal, NamedTuple

from paritygate.cli.output import note, plural, say, say_json
from paritygate.cli.progress import progress
from paritygate.cli.stages import shown
from paritygate.cli.verb import Settings
from paritygate.core.errors import ExitCode, UsageError
from paritygate.core.transfer import Differing, There, Transfer
from paritygate.core.trust import Trust

if TYPE_CHECKING:
    from paritygate.store.golden import GoldenStore


class Way(NamedTuple):
    """How goldens are carried: what becomes of others, by what an object counts as there, whether any is, and where the
    token may go.
    """

    differing: Differing
    there: There
    does: Literal["plan", "carry"]
    trust: Trust


def carry(
    settings: Settings, store: "GoldenStore", action: str, select: str, url: str, way: Way, as_json: bool
) -> ExitCode:
    """Pulls or pushes; raises UsageError where no remote is named."""
    if not url:
        raise UsageError(
            "no remote",
            where=f"golden {action}",
            expected="--remote URL, or PARITYGATE_REMOTE",
            try_=f"paritygate golden {action} --remote s3://BUCKET/goldens",
        )
    from paritygate.store import transfer as stage
    from paritygate.store.remote import open_remote

    remote = open_remote(url, settings.token, way.trust)
    if way.does == "plan":
        plan = stage.plan_pull if action == "pull" else stage.plan_push
        done = plan(store, remote, select, differing=way.differing, there=way.there)
    else:
        go = stage.pull if action == "pull" else stage.push
        with progress(settings) as going:
            done = go(store, remote, select, differing=way.differing, there=way.there, progress=going)
    if as_json:
        say_json(
            {
                "remote": remote.url,
                "goldens": done.changes,
                "objects": done.objects_n,
                "bytes": done.objects_bytes,
                "there": done.there,
                "written": way.does == "carry",
            }
        )
        return ExitCode.PASS
    _tell(settings, done)
    ends = (remote.url, shown(settings.golden)) if action == "pull" else (shown(settings.golden), remote.url)
    gone = "would go" if way.does == "plan" else "went"
    say(
        f"{plural(len(done.manifests), 'golden')} of {len(done.changes):,} and {plural(done.objects_n, 'object')}, "
        f"{done.objects_bytes:,} bytes, {gone} from {ends[0]} to {ends[1]}; {done.there:,} objects were there"
    )
    if way.does == "plan":
        note(settings, "next    the same command without --dry-run")
    else:
        again = f"next    paritygate golden pull --remote {shlex.quote(url)}"
        note(settings, "next    paritygate run" if action == "pull" else again)
    return ExitCode.PASS


def _tell(settings: Settings, done: Transfer) -> None:
    """A line for each golden of which anything goes."""
    for name, change in done.changes.items():
        sizes = done.objects.get(name, {})
        if change != "equal" or sizes:
            note(settings, f"{name}  {change}  {plural(len(sizes), 'object')}, {sum(sizes.values()):,} bytes")
