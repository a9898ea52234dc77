"""A section is one file: one that an extension brings is in the page and in the text. The report stays light."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import paritygate.report.sections
from paritygate.core.registry import extend
from paritygate.report.data import ReportData
from paritygate.report.render import render_html
from paritygate.report.text import render_text

SECTION = '''
"""How many rows there are."""
from paritygate.report.parts import Section, Text

def build(data):
    return [Text(f"{len(data.rows)} rows & counting")]

SECTION = Section("census", 15, "Census", build)
'''


def test_one_file_adds_a_section(tmp_path: Path, passing: ReportData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paritygate.report.sections, "__path__", list(paritygate.report.sections.__path__))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "sections").mkdir()
    (tmp_path / "sections" / "census.py").write_text(SECTION)
    extend([tmp_path])
    try:
        page, text = render_html(passing), render_text(passing)
    finally:
        sys.modules.pop("paritygate.report.sections.census", None)
    assert f"{len(passing.rows)} rows &amp; counting" in page
    assert page.index('id="verdict"') < page.index('id="census"') < page.index('id="heatmap"')
    assert f"CENSUS\n{len(passing.rows)} rows & counting" in text


def test_the_report_needs_core_and_jinja2_only() -> None:
    program = (
        "import sys, json, paritygate.report.render, paritygate.report.text, paritygate.report.assemble as assemble;"
        "assemble.sections();"
        "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    loaded = set(json.loads(child.stdout))
    assert "jinja2" in loaded  # the check sees what is imported
    assert loaded.isdisjoint({"numpy", "pandas", "torch", "jax", "flax", "transformers", "rich"})
