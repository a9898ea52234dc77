"""What a worker says of what it is at: one short line each time that changes, never a line twice."""

from collections.abc import Callable
from typing import Any

_ORDER = ("of", "cell", "case", "mode", "site", "phase")
LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"  # said when it is over: then the compiler starts
COMPILED = "/jax/core/compile/backend_compile_duration"


class Telling:
    """Is called with what changed, the fields of a `Doing`; those that are inside of it are then empty."""

    def __init__(self, say: Callable[[dict[str, str]], None]):
        self._say = say
        self._at: dict[str, str] = {}
        self._said: dict[str, str] = {}

    def __call__(self, **changed: str) -> None:
        outermost = min(map(_ORDER.index, changed))
        self._at = {name: self._at[name] for name in _ORDER[:outermost] if name in self._at} | changed
        found = {name: text for name, text in self._at.items() if text}
        if found != self._said:
            self._said = found
            self._say(found)

    def listen(self) -> None:
        """Has JAX say when it compiles, and when it is through."""
        from jax import monitoring

        def heard(event: str, duration_secs: float, **_: Any) -> None:
            if event == LOWERED:
                self(phase="compiling")
            elif event == COMPILED:
                self(phase="running")

        monitoring.register_event_duration_secs_listener(heard)
