"""The pytest plugin (entry point `pytest11`): options, the fixtures `parity_case` and `parity`, and the run at the end.

It is read at the start of every pytest where paritygate is installed, so it imports nothing but pytest and our errors:
all else comes with the first test that asks for a `parity_case`.
"""

import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from paritygate.core.errors import ExitCode, HarnessError, InfrastructureError, UsageError

if TYPE_CHECKING:
    from paritygate.testing.asked import ParityCase
    from paritygate.testing.ending import Ending
    from paritygate.testing.session import Checked, ParitySession

# name, placeholder, help. Each is `--parity-NAME` on the command line and `parity_NAME` in the ini file.
OPTIONS = (
    ("cases", "TEXT", "a suite, a preset, a case, or a glob over cases"),
    ("suite", "NAME", "the suite to look for the cases in"),
    ("cells", "EXPR", "dtypes x meshes x platforms, commas between names; the suite's own if left out"),
    ("mode", "MODE", "isolated, chained, both, gradient or all; all if left out"),
    ("golden", "DIR", "goldens, budgets and baselines; PARITYGATE_GOLDEN if left out"),
    ("runs", "DIR", "where the run is written, with its report; PARITYGATE_RUNS if left out"),
    ("path", "DIRS", "directories with families and further extensions; PARITYGATE_PATH if left out"),
    ("timeout", "S", "seconds until a replay is stopped; 1800 if left out"),
)
SESSION = pytest.StashKey["ParitySession"]()
STARTED = pytest.StashKey[tuple[str, str]]()
PARITY = pytest.StashKey["Parity"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("paritygate", "paritygate: does a JAX port compute what its reference computes")
    for name, metavar, text in OPTIONS:
        group.addoption(f"--parity-{name}", metavar=metavar, default="", help=f"{text} (ini: parity_{name})")
        parser.addini(f"parity_{name}", text, default="")


def pytest_configure(config: pytest.Config) -> None:
    """One name for the run, known to every process of the session before anything is replayed."""
    told: dict[str, Any] = getattr(config, "workerinput", {})
    now = (time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), secrets.token_hex(2))
    config.stash[STARTED] = tuple(told.get("parity_started", now))
    config.pluginmanager.register(_Worker(config) if told else _Controller(config), "paritygate-session")


def session_of(config: pytest.Config) -> "ParitySession":
    if SESSION not in config.stash:
        from paritygate.testing.asked import asked_of
        from paritygate.testing.session import ParitySession

        worker = str(getattr(config, "workerinput", {}).get("workerid", "main"))
        config.stash[SESSION] = ParitySession(*asked_of(config), config.stash[STARTED], worker)
    return config.stash[SESSION]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "parity_case" in metafunc.fixturenames:
        try:
            cases = session_of(metafunc.config).cases
        except HarnessError as reason:
            raise pytest.Collector.CollectError(str(reason)) from None
        metafunc.parametrize("parity_case", cases, ids=str)


@pytest.fixture
def parity(parity_case: "ParityCase", request: pytest.FixtureRequest) -> "Parity":
    """The case, replayed: an error where its golden or the infrastructure fails, a skip where no device is there."""
    node: pytest.Item = request.node
    session = session_of(request.config)
    with _said():
        session.require_golden(parity_case)
        reason = session.why_skipped(parity_case)
    if reason:
        node.user_properties.append(("parity_skipped", reason))
        pytest.skip(reason)
    with _said():
        found = session.checked(parity_case)
        node.user_properties += found.properties
        found.require_infrastructure()
    node.stash[PARITY] = Parity(found)
    return node.stash[PARITY]


class Parity:
    """What a test is given: `check` fails it with what the harness says of the case."""

    def __init__(self, found: "Checked"):
        self._found, self.is_checked = found, False

    def check(self, parity_case: "ParityCase") -> None:
        """Fails unless every value of the case is within its budgets, and all of the case is covered."""
        __tracebackhide__ = True
        self.is_checked = True
        with _said():
            if parity_case != self._found.case:
                raise UsageError(
                    "parity checks the case of its own test", expected=str(self._found.case), got=str(parity_case)
                )
        if self._found.code is not ExitCode.PASS:
            pytest.fail(self._found.text, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    result = yield
    if PARITY in item.stash and not item.stash[PARITY].is_checked:
        pytest.fail("nothing was compared: the test takes `parity` and never calls parity.check(...)", pytrace=False)
    return result


@contextmanager
def _said() -> Iterator[None]:
    """What the harness refuses is said in its own words, without a traceback."""
    __tracebackhide__ = True
    try:
        yield
    except HarnessError as reason:
        pytest.fail(str(reason), pytrace=False)
    except OSError as reason:
        if reason.filename is None:
            raise
        refused = InfrastructureError("file cannot be read or written", where=str(reason.filename), got=str(reason))
        pytest.fail(str(refused), pytrace=False)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In the place of `load`, the default of `-n`; whoever asks for another distribution gets it."""
    if config.getoption("dist") != "load":
        return None
    from paritygate.testing.scheduler import ParityScheduling

    return ParityScheduling(config, log)


def _asked(items: Sequence[pytest.Item]) -> list["ParityCase"]:
    """The parity cases among what was selected; each item is told its own, which its reports carry."""
    found: list[ParityCase] = []
    for item in items:
        if case := getattr(getattr(item, "callspec", None), "params", {}).get("parity_case"):
            found.append(case)
            item.user_properties.append(("parity_id", str(case)))
    return found


class _Worker:
    """A process of pytest-xdist: tells the controller which cases were selected."""

    def __init__(self, config: Any):  # with what pytest-xdist adds to it
        self.config = config

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if cases := _asked(session.items):
            session_of(self.config).select(cases)
            self.config.workeroutput["parity_asked"] = [str(case) for case in cases]


class _Controller:
    """The process that the user started: takes what items report, and writes one run at the end."""

    def __init__(self, config: pytest.Config):
        from paritygate.testing.told import Told

        self.config, self.told = config, Told()
        self.asked: dict[str, None] = {}
        self.platforms: set[str] = set()  # that there are devices enough of
        self.ending: Ending | None = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if cases := _asked(session.items):
            session_of(self.config).select(cases)
            self.asked |= dict.fromkeys(map(str, cases))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["parity_started"] = self.config.stash[STARTED]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        from paritygate.testing.told import platforms_of

        for platform in set(platforms_of(ids)) - self.platforms:
            try:
                session_of(self.config).require_devices(platform, int(node.workerinput["workercount"]))
            except HarnessError as reason:
                raise pytest.UsageError(str(reason)) from None
            self.platforms.add(platform)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        self.asked |= dict.fromkeys(getattr(node, "workeroutput", {}).get("parity_asked", ()))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.told.take(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """After pytest-xdist has ended its workers, and before the terminal's summary."""
        if not self.told.something:
            return
        from paritygate.testing.ending import end

        self.ending = end(session_of(self.config), self.asked, self.told)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = int(self.ending.code)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.ending is not None:
            terminalreporter.write_sep("=", "paritygate")
            terminalreporter.write_line(self.ending.text(terminalreporter))
