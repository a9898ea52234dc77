"""Report as one offline HTML file. Reads the sections; writes `report.html` into the run folder."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from paritygate.core.run import Run, write_atomic
from paritygate.report.assemble import assemble
from paritygate.report.chart import draw
from paritygate.report.data import ReportData
from paritygate.report.pack import Packed, cap_bytes, pack
from paritygate.report.parts import Part, Section, SitePages
from paritygate.report.script import join

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """What stands in the title, at the top and at the foot of a page; `word` is its answer."""

    word: str
    suite: str
    run: str
    started: str
    version: str


def render_html(data: ReportData, sections: Sequence[str] | None = None) -> str:
    """The whole page of a run."""
    info = data.info
    page = Page(data.outcome.value, info.suite, info.id, info.started, info.versions.get("paritygate", ""))
    return render_page(page, assemble(data, sections))


def render_page(page: Page, built: Sequence[tuple[Section, Sequence[Part]]]) -> str:
    """A page of sections. It names no other file: style and script are inside, and a policy lets nothing else run."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def part(value: Part) -> Markup:
        """Each kind of part has the macro of its name."""
        return Markup(getattr(environment.get_template("parts.html.j2").module, type(value).__name__)(value))

    pages = next((p for _, parts in built for p in parts if isinstance(p, SitePages)), None)
    known = {"part": part, "draw": draw, "scripted": pages is not None}
    environment.globals |= known  # pyright: ignore[reportAttributeAccessIssue]
    style, script = _style(), join(HERE / "static") if pages else ""
    sections = [(section, [part(value) for value in parts]) for section, parts in built]
    return environment.get_template("report.html.j2").render(
        page=page,
        sections=sections,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        packed=_packed(pages, len(style) + len(script) + sum(len(p.encode()) for _, parts in sections for p in parts)),
    )


def _packed(pages: SitePages | None, taken: int) -> Packed:
    """The rows, in the room that the rest of the page leaves under the cap."""
    if pages is None:
        return Packed({}, ())
    return pack(pages, cap_bytes(sum(len(page.rows) for page in pages.pages)) - taken)


def write_report(run_folder: Path, data: ReportData | None = None) -> Path:
    """Writes `report.html` of a judged run and returns its path; any moment shows the old page or the new."""
    data = data or ReportData.of(Run.open(run_folder))
    path = run_folder / "report.html"
    write_atomic(path, render_html(data).encode())
    return path


def _style() -> str:
    return "\n".join(path.read_text() for path in sorted((HERE / "static").glob("*.css")))


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
