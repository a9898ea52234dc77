"""A run as JUnit XML: a suite for each case, cell and mode, in it a test for each site; one suite for the run itself.

A test a site, not a row: what a person opens is a site, and tools that list tests stay usable at tens of thousands of
rows. A failing site names its rows, worst first. The run passes if and only if no test fails.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from paritygate.core.drift import Row, Verdict
from paritygate.report.data import COMPARED, Outcome, ReportData, failing, severity
from paritygate.report.words import MEANINGS, count, row_words, verdict_words

ROWS_SHOWN = 10
TEXT_CHARACTERS = 4_000
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


def render_junit(data: ReportData) -> str:
    """The whole file, with its declaration."""
    suites: dict[tuple[str, str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for site in data.sites:
        for row in data.rows_of_site[site]:
            suites[row.drift.case, row.drift.cell, row.drift.mode][site].append(row)
    root = ElementTree.Element("testsuites", {"name": _plain(f"paritygate {data.info.suite}")})
    order = [(case, cell, mode) for case in data.cases for cell, mode in data.places]
    for key in (key for key in order if key in suites):
        root.append(_suite(data, *key, suites[key]))
    root.append(_of_run(data))
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", f"{data.info.wall_s:.3f}")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(data: ReportData, case: str, cell: str, mode: str, sites: dict[str, list[Row]]) -> ElementTree.Element:
    rows = [row for some in sites.values() for row in some]
    verdicts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    properties = {
        "run": data.info.id,
        "suite": data.info.suite,
        "case": case,
        "cell": cell,
        "mode": mode,
        "rows": str(len(rows)),
        **{f"rows.{verdict}": str(number) for verdict, number in verdicts.items() if number},
    }
    tests = [_test(f"{case}.{cell}.{mode}", site, some) for site, some in sites.items()]
    return _counted(f"{case} {cell} {mode}", data, properties, tests)


def _counted(
    name: str, data: ReportData, properties: dict[str, str], tests: Sequence[ElementTree.Element]
) -> ElementTree.Element:
    def having(tag: str) -> str:
        return str(sum(test.find(tag) is not None for test in tests))

    counts = {"tests": str(len(tests)), "failures": having("failure"), "errors": having("error")}
    found = ElementTree.Element("testsuite", {"name": _plain(name), **counts, "skipped": having("skipped")})
    listed = ElementTree.SubElement(found, "properties")
    for key, value in properties.items():
        ElementTree.SubElement(listed, "property", {"name": _plain(key), "value": _plain(value)})
    found.extend(tests)
    return found


def _test(classname: str, site: str, rows: list[Row]) -> ElementTree.Element:
    """A difference is a failure; a site of which something was not compared, and nothing differs, is an error."""
    test = ElementTree.Element("testcase", {"classname": _plain(classname), "name": _plain(site)})
    bad = sorted(filter(failing, rows), key=severity, reverse=True)
    if bad:
        tag = "failure" if any(row.verdict in COMPARED for row in bad) else "error"
        return _ended(test, tag, str(bad[0].diagnosis or bad[0].verdict), _message(bad[0]), _text(bad))
    skipped = [row for row in rows if row.verdict is Verdict.SKIPPED]
    if len(skipped) == len(rows):
        ElementTree.SubElement(test, "skipped", {"message": _plain(skipped[0].reason)})
    return test


def _ended(test: ElementTree.Element, tag: str, kind: str, message: str, text: str) -> ElementTree.Element:
    found = ElementTree.SubElement(test, tag, {"type": _plain(kind), "message": _plain(message)})
    found.text = _plain(text, TEXT_CHARACTERS)
    return test


def _message(row: Row) -> str:
    return f"{row.drift.address} {verdict_words(row.verdict)}: {row_words(row)}"


def _text(rows: list[Row]) -> str:
    lines: list[str] = []
    for row in rows[:ROWS_SHOWN]:
        lines.append(_message(row))
        why = f"{row.diagnosis}: {MEANINGS[row.diagnosis]}" if row.diagnosis else ""
        origin = f"propagated from {row.origin}" if row.origin else ""
        lines += [f"    {text}" for text in (why, origin, row.evidence) if text]
    more = len(rows) - ROWS_SHOWN
    return "\n".join([*lines, f"and {count(more)} more rows of this site"] if more > 0 else lines)


def _of_run(data: ReportData) -> ElementTree.Element:
    """What fails a run beside its rows: gaps, findings, changed programs, the infrastructure, nothing compared."""
    info = data.info
    listed: dict[str, Iterable[str]] = {
        "coverage": (gap.text for gap in data.coverage.gaps),
        "precision lint": (finding.text for finding in data.lint.new),
        "compiled programs": (change.text for change in data.program_changes.failing),
    }
    tests = [_listed(name, "failure", list(texts)) for name, texts in listed.items()]
    tests.append(_listed("infrastructure", "error", list(info.problems)))
    nothing = ["no value was compared"] if data.outcome is Outcome.NOTHING else []
    tests.append(_listed("something compared", "error", nothing))
    found = data.gates
    properties = {
        "run": info.id,
        "suite": info.suite,
        "started": info.started,
        "command": " ".join(info.command),
        "outcome": data.outcome.value,
        "gate.budget": found.budget.words,
        "gate.ratchet": found.ratchet.words,
        **{f"version.{name}": version for name, version in sorted(info.versions.items())},
    }
    return _counted("run", data, properties, tests)


def _listed(name: str, tag: str, texts: list[str]) -> ElementTree.Element:
    test = ElementTree.Element("testcase", {"classname": "run", "name": name})
    return _ended(test, tag, name, texts[0], "\n".join(texts)) if texts else test


def _plain(text: str, at_most: int = 1_000) -> str:
    """Text that XML can hold, cut where it is too long to be read."""
    text = _FORBIDDEN.sub("?", text)
    return text if len(text) <= at_most else text[: at_most - 1] + "…"
