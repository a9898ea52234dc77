"""How the documentation is built: `make docs`. Offline, and every warning is an error."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "harness")]

project = "paritygate"
author = copyright = "the paritygate authors"
version = release = re.findall(r'__version__ = "(.+)"', (HERE.parent / "harness/paritygate/__init__.py").read_text())[0]

extensions = ["myst_parser", "reference_pages", "docs_offline"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext", "README.md", "tutorial/**"]
nitpicky = True
suppress_warnings: list[str] = []

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "paritygate"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "native"
