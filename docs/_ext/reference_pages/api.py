"""The Python API: a class or a function by its dotted name, with what it can be asked."""

import inspect
from typing import Any

from paritygate.core.registry import load

from reference_pages.markdown import code, documentation, prose


def python_api(*dotted: str) -> str:
    """One heading for each `module:name`, and under a class one entry a public method."""
    return "\n\n".join(map(_entry, dotted)) + "\n"


def _entry(dotted: str) -> str:
    found = load(dotted)
    module, _, name = dotted.partition(":")
    if inspect.isclass(found):
        parts = [f"## {name}", f"{code(f'from {module} import {name}')}", prose(documentation(found, dotted))]
        parts += [_member(name, member, value) for member, value in vars(found).items() if _is_public(member, value)]
        return "\n\n".join(parts)
    return "\n\n".join([f"## {name}", code(f"from {module} import {name}"), _signed(name, found)])


def _is_public(name: str, value: Any) -> bool:
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property | classmethod))


def _member(of: str, name: str, value: Any) -> str:
    if isinstance(value, property):
        return f"### {of}.{name}\n\n" + (prose(inspect.cleandoc(value.__doc__)) if value.__doc__ else "A property.")
    function = value.__func__ if isinstance(value, classmethod) else value
    return f"### {of}.{name}\n\n{_signed(name, function)}"


def _signed(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    kept = [p for key, p in signature.parameters.items() if key not in ("self", "cls")]
    shown = str(signature.replace(parameters=kept)).replace("'", "").replace('"', "").replace("paritygate.core.", "")
    words = inspect.cleandoc(function.__doc__ or "")
    return f"```python\n{name}{shown}\n```" + (f"\n\n{prose(words)}" if words else "")
