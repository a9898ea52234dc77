"""What the documentation asks a reader to do is done, and prints what is shown."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.documents import Page, pages
from docs.session import Session

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PAGES = pages()


def chains() -> Iterator[list[Page]]:
    """Pages that are run in one place, those that begin where another ends behind it."""
    for first in PAGES.values():
        if not first.after:
            chain = [page for page in (first, *(p for p in PAGES.values() if p.after == first.name)) if page.run]
            if chain:
                yield chain


def test_a_page_comes_after_one_that_comes_after_none() -> None:
    assert {PAGES[page.after].after for page in PAGES.values() if page.after} == {""}


@pytest.mark.timeout(900)  # a machine that does other things at the same time must not look like a wrong page
@pytest.mark.parametrize("chain", [pytest.param(chain, id=chain[0].name) for chain in chains()])
def test_pages_show_what_happens(chain: list[Page], tmp_path: Path, subtests: pytest.Subtests) -> None:
    first, *others = chain
    session = Session.begin(tmp_path / "first")
    session.do(first)
    for page in others:
        with subtests.test(page.name):
            session.another(tmp_path / page.name.replace("/", "-")).do(page)
