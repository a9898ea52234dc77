"""What both children share: one request a line on standard input, one JSON answer a line on standard output.

A child is started with the folder of the checkpoint, the name of the size and the dtype. It prints what it is once it
has loaded, then runs `NAME` once per request and answers {"seconds": …}; only one child is asked at a time.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def serve(about: Mapping[str, Any], jobs: Mapping[str, Callable[[], Any]]) -> None:
    """Answer requests until standard input ends. A job gives None, or what to answer besides the seconds it took."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print must not be taken for an answer
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        more = jobs[line.strip()]()
        took = time.perf_counter() - began
        print(json.dumps({"seconds": took} | (more or {})), file=answers, flush=True)
