"""Records what chosen modules and functions of a torch model get and give during a forward pass."""

import importlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from paritygate.core.registry import load
from paritygate.reference.tensors import map_tensors


@dataclass
class Call:
    """One call: arguments as on entry, the result as on exit, and the calls of tapped functions inside.

    `entered` and `left` count events of the whole pass, so that values can be put in the order of their production.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    entered: int
    result: Any = None
    left: int = 0
    functions: dict[str, list["Call"]] = field(default_factory=lambda: defaultdict(list))


def _snapshot(value: Any) -> Any:
    # Not a view: the reference writes into some values afterwards (the routed sum is added in place).
    return map_tensors(lambda tensor: tensor.detach().clone(), value)


def holder(dotted: str) -> tuple[Any, str]:
    """What holds the function that `module:name` or `module:Class.name` names, and its name there."""
    module, _, path = dotted.partition(":")
    owner, _, name = path.rpartition(".")
    return load(f"{module}:{owner}") if owner else importlib.import_module(module), name


def tapped(name: str, functions: Iterable[str]) -> Callable[..., Any]:
    """The function of that name among the tapped ones, as it is."""
    (dotted,) = [dotted for dotted in functions if holder(dotted)[1] == name]
    return load(dotted)


@contextmanager
def replaced(functions: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """While open, functions and methods, named as for a Recorder, are others, called with the original in front."""
    originals: list[tuple[Any, str, Any]] = []
    try:
        for dotted, function in functions.items():
            owner, name = holder(dotted)
            own = vars(owner).get(name)
            originals.append((owner, name, own))
            instead: Any = _before(getattr(owner, name), function)
            setattr(owner, name, staticmethod(instead) if isinstance(own, staticmethod) else instead)
        yield
    finally:
        _put_back(originals)


def _before(original: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(original, *args, **kwargs)

    return called


def _put_back(originals: list[tuple[Any, str, Any]]) -> None:
    for owner, name, own in reversed(originals):
        if own is None:  # a method that the class inherits
            delattr(owner, name)
        else:
            setattr(owner, name, own)


class Calling(torch.nn.Module):
    """A function as a module, so that its calls are recorded as a module's are."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self._function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


class Recorder:
    """Calls of the modules at `paths`, in call order; functions are ascribed to the innermost recorded module."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = defaultdict(list)
        self._open: list[Call] = []
        self._events = 0

    def _tick(self) -> int:
        self._events += 1
        return self._events

    def _enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        return Call(_snapshot(tuple(args)), _snapshot(dict(kwargs)), self._tick())

    @contextmanager
    def on(self, modules: dict[str, torch.nn.Module], functions: Iterable[str]) -> Iterator["Recorder"]:
        """Records while the context is open: `modules` by the name to file them under.

        `functions` are written `module:name`, or `module:Class.name` for a method.
        """
        handles = []
        patched: list[tuple[Any, str, Any]] = []
        try:
            for path, module in modules.items():
                handles.append(module.register_forward_pre_hook(self._before(path), with_kwargs=True))
                handles.append(module.register_forward_hook(self._after, with_kwargs=True, always_call=False))
            for dotted in functions:
                owner, name = holder(dotted)
                patched.append((owner, name, vars(owner).get(name)))
                setattr(owner, name, self._tapped(name, getattr(owner, name)))
            yield self
        finally:
            for handle in handles:
                handle.remove()
            _put_back(patched)
            self._open.clear()

    def _before(self, path: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = self._enter(args, kwargs)
            self.calls[path].append(call)
            self._open.append(call)

        return hook

    def _after(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        call = self._open.pop()
        call.result, call.left = _snapshot(result), self._tick()

    def _tapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def tapped(*args: Any, **kwargs: Any) -> Any:
            call = self._enter(args, kwargs)
            result = function(*args, **kwargs)
            call.result, call.left = _snapshot(result), self._tick()
            if self._open:
                self._open[-1].functions[name].append(call)
            return result

        return tapped
