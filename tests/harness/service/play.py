"""A candidate's interpreter that only plays a run: it is put where a checkout has its own, and does what `play.json`
beside the checkout says. Imports nothing of ours, for it stands for code that is not ours.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path


def main() -> int:
    play = json.loads(Path("../play.json").read_text())
    arguments = sys.argv[1:]
    if arguments == ["-m", "paritygate", "list", "families", "--json"]:
        print(json.dumps([{"name": "played", "suites": play["suites"]}]))
        return 0
    called = {"arguments": arguments, "token": os.environ.get("PARITYGATE_TOKEN"), "folder": os.getcwd()}
    runs = Path(os.environ["PARITYGATE_RUNS"])
    resumed = arguments[arguments.index("--resume") + 1] if "--resume" in arguments else ""
    if resumed:
        called["found"] = {path.name: path.read_text() for path in (runs / resumed).iterdir()}
    with Path("../called.jsonl").open("a") as file:
        file.write(json.dumps(called) + "\n")
    if refused := play.get("refuses_to_resume" if resumed else "refuses"):
        print(refused["said"], file=sys.stderr)
        return refused["code"]
    whole = Path(play["run"])
    folder = runs / whole.name
    folder.mkdir(exist_ok=True)
    info = json.loads((whole / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, "problems": ["the run did not finish"]}))
    lines = (whole / "drifts.jsonl").read_text().splitlines(keepends=True)
    (folder / "drifts.jsonl").write_text("".join(lines[: len(lines) // 2]))
    if play.get("hangs"):
        time.sleep(600)
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    if changes := play.get("changes"):
        Path(changes).write_text("changed")
    return play["code"]


if __name__ == "__main__":
    sys.exit(main())
