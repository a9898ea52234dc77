"""Puts this folder on the path, for the row builders of `judge_rows`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
