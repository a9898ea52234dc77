"""What machines and reviewers are told of a run: Markdown, GitHub's commands, JUnit; with names that mean harm."""

import importlib.util
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from paritygate.core.blame import Blame, BlamedLine
from paritygate.core.errors import ExitCode
from paritygate.judge.gate import exit_code
from paritygate.report.data import ReportData
from paritygate.report.github import AT_MOST, Annotation, Spot, annotations, output, without_commands
from paritygate.report.junit import render_junit
from paritygate.report.markdown import COMMENT_BYTES, LEFT_OUT_FIRST, blocks, escaped, fitting, render_markdown


@pytest.fixture(scope="module")
def names() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile_run", Path(__file__).with_name("hostile.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hostile(names: ModuleType, synthetic: ModuleType) -> ReportData:
    return names.hostile(synthetic)


def nowhere(*_: str) -> Spot:
    return Spot()


# Markdown


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(markdown: str) -> Page:
    """As GitHub reads it: CommonMark with tables, raw HTML let through."""
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


OURS = {"h2", "h3", "p", "strong", "em", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code", "pre",
        "details", "summary"}  # fmt: skip


def test_a_reviewer_sees_the_verdict_first_and_then_where_and_what_next(failing: ReportData) -> None:
    text = render_markdown(failing, "paritygate locate 20260102")
    verdict, first, following, folded = (
        text.index(part) for part in ("## FAIL", "### First divergence", "**Next**", "<details>")
    )
    assert verdict < first < following < folded
    page = page_of(text)
    assert set(page.tags) <= OURS
    head = text[: text.index("### First")]
    assert "- budget: **fail" in head and "- ratchet: **fail" in head
    for said in ("layers.1.attn:inner.q_rope", "semantic", "Compared with before", "Provenance", "bit-identical"):
        assert said in page.text
    for name in ("Cells and rows", "Coverage", "Precision"):
        assert re.search(rf"<details><summary>{name}", text)


def test_a_pass_is_short(passing: ReportData) -> None:
    text = render_markdown(passing, "open report.html")
    assert text.startswith("## PASS: All 2,000 values")
    assert "First divergence" not in text


def test_names_are_nothing_but_text_in_markdown(hostile: ReportData) -> None:
    text = render_markdown(hostile, "paritygate locate x", limit=10**9)
    page = page_of(text)
    assert set(page.tags) <= OURS
    assert page.attributes == [] or {name for _, name, _ in page.attributes} <= {"style"}  # a column to the right
    assert "<script>alert(1)</script>" in page.text, "it is shown as it is"
    for line in text.splitlines():
        assert not re.match(r"\s*(::|##\[)", line), line
    assert not re.search(r"@\w", page.text), "nobody is mentioned"
    assert not re.search(r"#\d", page.text) and "://" + "evil" not in page.text and "www.evil" not in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


@pytest.mark.parametrize("index", range(20))
def test_each_hostile_name_stays_in_its_cell(names: ModuleType, index: int) -> None:
    cell = escaped(names.NAMES[index])
    page = page_of(f"| a | b |\n| --- | --- |\n| {cell} | after |\n")
    assert page.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert page.text.split()[-1] == "after"


def test_what_does_not_fit_is_left_out_in_the_stated_order_and_said(failing: ReportData) -> None:
    made = blocks(failing, "next")
    whole = fitting(made, limit=10**9)
    assert "Left out" not in whole
    order = [name for name in LEFT_OUT_FIRST if name in {block.name for block in made}]
    left: list[int] = []
    for limit in range(len(whole.encode()), 0, -50):
        text = fitting(made, limit)
        (said,) = re.findall(r"Left out for want of room: (.*)\. The report", text) or [""]
        left.append(len(said.split(", ")) if said else 0)
        assert "## FAIL" in text and "**Next**" in text
        gone = order[: left[-1]]
        assert all((str(block) in text) is (block.name not in gone) for block in made)
        assert len(text.encode()) <= limit or gone == order
    assert left == sorted(left) and set(left) == {*range(left[-1] + 1)} and left[-1] == len(order) == 9


def test_a_comment_fits_whatever_a_run_is_called(hostile: ReportData) -> None:
    assert len(render_markdown(hostile, "next").encode()) <= COMMENT_BYTES


# GitHub


COMMAND = re.compile(r"::error (?P<properties>(?:\w+=[^,:\r\n]*)(?:,\w+=[^,:\r\n]*)*)::(?P<message>[^\r\n]*)")


def read(command: str) -> tuple[dict[str, str], str]:
    """As the runner reads a command: the properties and the message, unescaped."""
    found = COMMAND.fullmatch(command)
    assert found, command

    def plain(text: str, more: dict[str, str]) -> str:
        return re.sub("%(25|0D|0A|3A|2C)", lambda m: ({"25": "%", "0D": "\r", "0A": "\n"} | more)[m[1]], text)

    pairs = (pair.partition("=") for pair in found["properties"].split(","))
    return {k: plain(v, {"3A": ":", "2C": ","}) for k, _, v in pairs}, plain(found["message"], {})


def test_an_annotation_says_what_and_where(failing: ReportData) -> None:
    blame = Blame(
        "tiny-scout.long", "f64/single/cpu", "isolated", "layers.1.attn:inner.q_rope",
        lines=(BlamedLine("rope.py:12", "apply", "rounded", 0.5),),
    )  # fmt: skip
    data = replace(failing, blames=(blame,))

    def at(line: str, where: str) -> Spot:
        return Spot("impl/rope.py", 12) if line == "rope.py:12" else Spot()

    found = annotations(data, lambda case, site: Spot("impl/attention.py", 3), at)
    assert 1 <= len(found) <= AT_MOST
    properties, message = read(found[0].command)
    assert properties["title"] == "paritygate: layers.1.attn:inner.q_rope over budget"
    assert (properties["file"], properties["line"]) == ("impl/rope.py", "12"), (
        "the line to blame is nearer than the site's"
    )
    assert "Semantic: the float64 cell differs too" in message and "rope.py:12 (apply) rounded: 50% of" in message
    alike = sum(row.drift.address == "layers.1.attn:inner.q_rope" for row in data.first_divergences)
    assert f"and first in {alike - 1} more" in message
    (plain, *_) = annotations(replace(data, blames=()), lambda case, site: Spot("impl/attention.py", 3), at)
    assert (plain.spot.file, plain.spot.line) == ("impl/attention.py", 3)


def test_there_are_never_more_than_eight_and_the_last_says_so(hostile: ReportData, passing: ReportData) -> None:
    found = annotations(hostile, nowhere, nowhere)
    assert len(found) == AT_MOST
    assert re.fullmatch(r"\d+ more things are not right: .*", found[-1].message)
    assert annotations(passing, nowhere, nowhere) == []


@pytest.mark.parametrize("index", range(20))
def test_no_name_can_give_the_runner_an_order(names: ModuleType, index: int) -> None:
    name = names.NAMES[index]
    command = Annotation(name, name, Spot(name, 3)).command
    assert len(command.splitlines()) == 1
    properties, message = read(command)
    assert list(properties) == ["file", "line", "title"]
    clean = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "?", name)
    assert (properties["title"], message) == (clean, clean[:2000])


def test_text_is_printed_between_marks_that_it_cannot_know(names: ModuleType) -> None:
    text = "\n".join(names.NAMES)
    first, *inner, last = without_commands(text, "t0k3n").split("\n")
    assert (first, last) == ("::stop-commands::t0k3n", "::t0k3n::")
    assert "t0k3n" not in "".join(inner)


def test_an_output_of_many_lines_stays_one_output() -> None:
    assert output("run", "a\nverdict=pass", "t0k3n") == "run<<t0k3n\na\nverdict=pass\nt0k3n\n"


# JUnit

CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "property": set(),
    "testcase": {"skipped", "error", "failure"},
    "skipped": set(),
    "error": set(),
    "failure": set(),
}
ATTRIBUTES = {
    "testsuites": ({"name", "tests", "failures", "errors", "time"}, set()),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped"}, set()),
    "properties": (set(), set()),
    "property": ({"name", "value"}, set()),
    "testcase": ({"classname", "name"}, set()),
    "skipped": ({"message"}, set()),
    "error": ({"type", "message"}, set()),
    "failure": ({"type", "message"}, set()),
}


def strictly(text: str) -> ElementTree.Element:
    """The tree of a JUnit file that has what the schemas of Jenkins and GitLab ask for, in their order, and no more."""
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        needed, may = ATTRIBUTES[element.tag]
        assert needed <= set(element.attrib) <= needed | may, element.tag
        assert {child.tag for child in element} <= CHILDREN[element.tag], element.tag
        assert element.tag in ("failure", "error") or not (element.text or "").strip(), element.tag
    for suite in root:
        tags = [child.tag for child in suite]
        assert tags == sorted(tags, key=["properties", "testcase"].index) and tags.count("properties") == 1
        tests = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(tests) > 0
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[name]) == sum(test.find(tag) is not None for test in tests)
        assert all(len(test) <= 1 for test in tests)
        keys = [(test.attrib["classname"], test.attrib["name"]) for test in tests]
        assert len(set(keys)) == len(keys), "two tests of one name"
    for name in ("tests", "failures", "errors"):
        assert int(root.attrib[name]) == sum(int(suite.attrib[name]) for suite in root)
    return root


def test_junit_has_a_suite_for_each_case_cell_and_mode_and_a_test_for_each_site(failing: ReportData) -> None:
    root = strictly(render_junit(failing))
    suites = {suite.attrib["name"]: suite for suite in root}
    assert len(suites) == 3 * 4 * 2 + 1
    suite = suites["tiny-scout.long f64/single/cpu isolated"]
    assert [t.attrib["name"] for t in suite.findall("testcase")][:3] == ["rope", "masks", "embed"]
    failure = suite.find("testcase[@name='layers.1.attn']/failure")
    assert failure is not None and failure.attrib["type"] == "semantic"
    assert failure.attrib["message"].startswith("layers.1.attn:inner.q_rope over budget: ")
    assert "semantic: the float64 cell differs too" in (failure.text or "")
    properties = {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")}
    assert (properties["mode"], properties["cell"]) == ("isolated", "f64/single/cpu")
    run = suites["run"]
    assert {t.attrib["name"] for t in run.findall("testcase") if len(t)} == {
        "coverage", "precision lint", "compiled programs",
    }  # fmt: skip
    assert "of 2,000 within" in next(
        p.attrib["value"] for p in run.iter("property") if p.attrib["name"] == "gate.budget"
    )


def test_junit_holds_any_name(hostile: ReportData) -> None:
    root = strictly(render_junit(hostile))
    assert "<script>" in ElementTree.tostring(root, encoding="unicode", method="text") or any(
        "<script>" in value for element in root.iter() for value in element.attrib.values()
    )


@pytest.mark.parametrize("fault", ["none", "semantic", "all"])
@pytest.mark.parametrize("spoiled", ["", "problem", "gap", "lint", "program", "nothing"])
def test_junit_passes_if_and_only_if_the_gate_does(synthetic: ModuleType, fault: str, spoiled: str) -> None:
    rows = synthetic.rows(fault, layers=2) if spoiled != "nothing" else []
    data = ReportData(
        synthetic.info(problems=("worker 1 died",) if spoiled == "problem" else ()),
        tuple(rows),
        **({"coverage": synthetic.coverage()} if spoiled == "gap" else {}),
        **({"lint": synthetic.lint()} if spoiled == "lint" else {}),
        **({"program_changes": synthetic.programs()[1]} if spoiled == "program" else {}),
    )
    root = strictly(render_junit(data))
    is_green = root.attrib["failures"] == root.attrib["errors"] == "0"
    gaps = [*data.coverage.gaps, *data.lint.new, *data.program_changes.failing]
    assert is_green is (exit_code(rows, data.info.problems, gaps) is ExitCode.PASS)


def test_the_strict_reader_refuses_what_is_not_junit(passing: ReportData) -> None:
    good = render_junit(passing)
    strictly(good)
    for wrong in (
        good.replace("<testcase ", "<testcase time='1' ", 1),
        good.replace("<properties>", "<properties><extra/>", 1),
        re.sub(r'tests="\d+"', 'tests="7"', good, count=2),
        good.replace("testsuites", "suites"),
    ):
        with pytest.raises((AssertionError, KeyError)):
            strictly(wrong)


def test_eighteen_thousand_rows_stay_digestible(synthetic: ModuleType) -> None:
    cases = [f"tiny-scout.case{i}" for i in range(27)]
    made = synthetic.rows("semantic", layers=4, cases=synthetic.CASES[:1])
    rows = tuple(replace(row, drift=replace(row.drift, case=case)) for case in cases for row in made)
    assert len(rows) > 18_000
    data = ReportData(synthetic.info(cases=tuple(cases)), rows)
    text = render_junit(data)
    root = strictly(text)
    assert int(root.attrib["tests"]) < len(rows) / 2
    assert len(text.encode()) < 8_000_000
    assert len(render_markdown(data, "next").encode()) <= COMMENT_BYTES
