"""Pages without a browser: every one that a link leads to is whole, escaped, and said again by its twin."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
from fastapi.testclient import TestClient

from harness.service import seeded
from harness.service.conftest import bearer
from paritygate.service.rendering import style_address
from paritygate.service.words import clip, exactly, tone, url, visible

HANDLERS = re.compile(r"^on|^style$")
OURS = frozenset(
    "html head meta title link body a header div nav main footer h1 h2 h3 p span bdi b code pre ul ol li dl dt dd "
    "table caption thead tbody tr th td br form label input select option datalist button section details summary "
    "iframe time figure figcaption svg g rect line polyline circle path text progress".split()
)


class Read(HTMLParser):
    """A page's elements, links, headings and ids; raises on what none of our templates writes."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.found: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag in OURS, f"<{tag} {given}>"
        assert not [name for name in given if HANDLERS.match(name)], f"<{tag} {given}>"
        self.found.append(tag)
        self.links += [value for name in ("href", "src") if (value := given.get(name))]
        self.ids += [value for name, value in attrs if name == "id" and value]


@dataclass
class Walk:
    """All pages that are reached from the first one by links, at most so many of one kind."""

    client: TestClient
    headers: dict[str, str]

    def pages(self, begin: str, most: int = 2) -> Iterator[tuple[str, str]]:
        waiting, seen, kinds = [begin], {begin}, dict[str, int]()
        while waiting:
            address = waiting.pop(0)
            answer = self.client.get(address, headers=self.headers)
            assert answer.status_code == 200, f"{address}: {answer.text[:400]}"
            if not answer.headers["content-type"].startswith("text/html") or urlsplit(address).path.endswith("/report"):
                continue
            yield address, answer.text
            for link in Read(answer.text).links:
                kind = _kind(link)
                is_page = link.startswith("/") and not urlsplit(link).path.endswith(".json")
                if is_page and link not in seen and kinds.get(kind, 0) < most:
                    seen.add(link)
                    kinds[kind] = kinds.get(kind, 0) + 1
                    waiting.append(link)


def _kind(link: str) -> str:
    """What a link leads to, without which one: the fixed words of its path, and the names of its query."""
    parts = urlsplit(link)
    return parts.path.rpartition("/")[2][:12] + str(parts.path.count("/")) + re.sub(r"=[^&]*", "", parts.query)


@pytest.fixture(scope="module")
def reader(site: Any) -> dict[str, str]:
    return bearer(site.app, "read", "submit", "approve", "admin", name="walker")


def test_every_page_that_a_link_leads_to_is_whole(site: Any, reader: dict[str, str]) -> None:
    walked, twins, described = [], 0, site.client.get("/api/openapi.json").json()
    for address, text in Walk(site.client, reader).pages("/projects"):
        page = Read(text)
        assert page.found.count("h1") == page.found.count("main") == 1, address
        assert re.search(r"<title>[^<]+ · paritygate</title>", text), address
        assert len(page.ids) == len(set(page.ids)), address
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text), address
        assert "49<iframe" not in text and "{{" not in text.replace("{{ 7*7 }}", ""), address
        twin = re.search(r'<link rel="alternate" type="application/json" href="([^"]*)"', text)
        if twin:
            answer = site.client.get(twin[1].replace("&amp;", "&"), headers=reader)
            _fits(described, urlsplit(twin[1]).path, answer.json())
            twins += 1
        walked.append(urlsplit(address).path)
    for ending in ("/projects", "/runs", "/rows", "/jobs", "/compare", "/baselines", "/history", "/approve", "/audit"):
        assert any(path.endswith(ending) for path in walked), ending
    assert twins == len(walked)


def _fits(described: dict[str, Any], path: str, value: Any) -> None:
    """What a twin says is as OpenAPI says."""
    for template, route in described["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path):
            schema = route["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.validate(value, {**schema, "components": described["components"]})
            return
    raise AssertionError(f"{path} is not described")


def test_hostile_names_are_said_and_do_nothing(site: Any, reader: dict[str, str]) -> None:
    text = site.client.get("/projects/hostile/runs/hostile", headers=reader).text
    shown: list[str] = []
    parser = Read(text)
    parser.handle_data = shown.append  # type: ignore[method-assign]
    parser.feed(text)
    said = "".join(shown)
    for name in ("suite", "pull_request", "case", "cell"):
        assert visible(seeded.HOSTILE[name]) in said, name
    rows = Read(site.client.get("/projects/hostile/runs/hostile/rows", headers=reader).text)
    link = next(link for link in rows.links if "/history?" in link)
    assert seeded.HOSTILE["site"] in unquote(link)  # whole, and only as it was quoted
    assert re.fullmatch(r"[A-Za-z0-9/._~?=&%-]*", link)


def test_a_file_is_kept_and_never_shown(site: Any, reader: dict[str, str]) -> None:
    answer = site.client.get("/projects/hostile/runs/hostile/files/report.html", headers=reader)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="hostile-report.html"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert site.client.get("/projects/hostile/runs/hostile/files/..%2Fproject.json", headers=reader).status_code == 404
    assert site.client.get("/projects/hostile/runs/hostile/files/secret", headers=reader).status_code == 404


def test_a_report_has_no_origin_and_only_its_own_script(site: Any, reader: dict[str, str]) -> None:
    def policy(path: str) -> str:
        return site.client.get(path, headers=reader).headers["content-security-policy"]

    ours = policy(f"/projects/port/runs/{site.drawn}/report")
    assert ours.startswith("sandbox allow-scripts; default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in ours and "allow-same-origin" not in ours
    assert ours != policy("/projects/hostile/runs/hostile/report")


def test_who_is_not_known_is_led_to_the_login_and_back(site: Any) -> None:
    asked = "/projects/port/runs?branch=main&suite=a%26b"
    answer = site.client.get(asked, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, url("login", next=asked))
    assert site.client.get("/projects/port/runs.json").status_code == 401


def test_refusals_are_pages(site: Any, reader: dict[str, str]) -> None:
    only_read = bearer(site.app, "read", name="only-read")
    for path, status, words in (
        ("/projects/nope/runs", 404, "no such project"),
        ("/projects/port/runs/nope", 404, "no such run"),
        ("/projects/port/runs?after=abc", 422, "no cursor"),
        ("/nope", 404, "not found"),
    ):
        answer = site.client.get(path, headers=reader)
        page = Read(answer.text)
        assert (answer.status_code, page.found.count("h1")) == (status, 1), path
        assert words in answer.text.lower(), path
    assert site.client.get("/audit", headers=only_read).status_code == 403
    assert site.client.get("/audit.json", headers=only_read).json()["error"]["what"] == "not allowed"
    assert "Audit" not in site.client.get("/projects", headers=only_read).text


def test_an_empty_project_says_what_to_type(site: Any, reader: dict[str, str]) -> None:
    for path, command in (
        ("runs", "paritygate upload latest --server http://testserver --project empty"),
        ("jobs", "paritygate job submit tiny"),
        ("baselines", "Nothing was accepted yet."),
    ):
        assert command in site.client.get(f"/projects/empty/{path}", headers=reader).text


def test_what_is_under_way_is_shown_anew_until_that_is_stopped(site: Any, reader: dict[str, str]) -> None:
    for path in ("/projects/port/jobs", "/projects/port/jobs/3"):
        answer = site.client.get(path, headers=reader)
        assert answer.headers["refresh"] == "5"
        assert f'<a href="{path}?refresh=off">stop</a>' in answer.text
        assert "refresh" not in site.client.get(f"{path}?refresh=off", headers=reader).headers
    for path in ("/projects/port/jobs/1", "/projects/empty/jobs", "/projects/port/runs"):
        assert "refresh" not in site.client.get(path, headers=reader).headers
    said = site.client.get("/projects/port/jobs/3", headers=reader).text
    assert 'value="260" max="400"' in said and "h100-1" in said and "Cancel this job" in said
    assert "&lt;b&gt;out of memory&lt;/b&gt;" in site.client.get("/projects/port/jobs/1", headers=reader).text


def test_a_run_is_held_against_what_was_accepted(site: Any, reader: dict[str, str]) -> None:
    before, after = (
        site.client.get(f"/projects/port/runs/{run.name}.json", headers=reader).json()["gate"] for run in site.runs[5:7]
    )
    assert before["verdict"] == after["verdict"] == "pass"  # what is accepted passes, in the run before it too
    text = site.client.get(f"/projects/port/runs/{site.runs[6].name}", headers=reader).text
    assert "By the baseline of this project; where it ran it was judged <b>fail</b>." in text
    assert (
        "router logits are rounded once more since #412"
        in site.client.get("/projects/port/baselines", headers=reader).text
    )


def test_the_style_has_an_address_of_its_own(site: Any) -> None:
    answer = site.client.get(style_address())
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert "--accent" in answer.text and ".pill" in answer.text
    assert site.client.get("/static/other.css").status_code == 404


def test_words() -> None:
    assert visible("a\u202eb\n") == "a⟨202E⟩b⟨000A⟩"
    assert exactly("<\u202e\r") == "&lt;&#x202e;&#xd;"
    assert visible("déjà vu – ρ") == "déjà vu – ρ"
    assert url("projects", "a/b?", q="x&y", none="", number=0) == "/projects/a%2Fb%3F?q=x%26y&number=0"
    assert clip("x" * 80, 10) == "x" * 9 + "…"
    assert [tone(word) for word in ("pass", "nothing_compared", "whatever")] == ["good", "warn", "bad"]


def test_a_strip_of_runs_shows_a_single_row() -> None:
    from paritygate.service.charts import strip_of

    runs = [
        SimpleNamespace(number=n, suite="tiny", verdict=verdict, failed=failed, rows=4_000)
        for n, verdict, failed in ((3, "fail", 4_000), (2, "fail", 1), (1, "pass", 0))
    ]
    drawn = strip_of(runs)  # type: ignore[arg-type]
    heights = [bar.height for bar in drawn.bars]
    assert heights == sorted(heights) and heights[0] < heights[1] < heights[2]
    assert drawn.bars[1].title == "#2 tiny: fail, 1 of 4,000 not a pass"
    assert drawn.label == "the last 3 runs, oldest first: 1 passed, 2 did not"
