"""Child process of test_imports: import modules one by one and say which of them brought in a forbidden one.

Reads {"path": [...], "modules": [...], "forbidden": [...]} as its argument; writes {"brought": {forbidden: module},
"failed": {module: exception}} as the last line of standard output. Needs nothing but the standard library.
"""

import importlib
import json
import sys


def forbidden_now(forbidden: list[str]) -> set[str]:
    return {name for name in forbidden if name in sys.modules}


def main() -> None:
    order = json.loads(sys.argv[1])
    sys.path[:0] = order["path"]
    brought: dict[str, str] = {}
    failed: dict[str, str] = {}
    for module in order["modules"]:
        before = forbidden_now(order["forbidden"])
        try:
            importlib.import_module(module)
        except Exception as exception:  # every module is tried, whatever the one before did
            failed[module] = f"{type(exception).__name__}: {exception}"
        for name in sorted(forbidden_now(order["forbidden"]) - before):
            brought[name] = module
    print(json.dumps({"brought": brought, "failed": failed}))


if __name__ == "__main__":
    main()
