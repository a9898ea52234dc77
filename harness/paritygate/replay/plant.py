"""Plants a fault: changes functions of the candidate in this process, and nothing in any file.

A function is changed by compiling its source again, with the change, among the globals of its own module, so that it
keeps its decorators, and with the line numbers of its file, from which lines that were put in move those behind them
away. Whatever holds the old one by name holds the new one while the fault is planted: its class or
module, and every module that imported it.
"""

import __future__

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import SequenceMatcher
from types import CodeType, ModuleType
from typing import Any

import jax

from paritygate.core.errors import HarnessError, UsageError
from paritygate.core.fault import Patch
from paritygate.core.registry import load

_FACTORY = "paritygate_factory"


@contextmanager
def planted(patches: Iterable[Patch]) -> Iterator[None]:
    """While open, the candidate has the change; nothing that was traced without it is used, nor the other way.

    Raises UsageError where a patch does not apply.
    """
    changed = {target: _changed(target, source) for target, source in changed_sources(patches).items()}
    undo: list[tuple[Any, str, Any]] = []
    try:
        for target, new in changed.items():
            owner, name, old = _held(target)
            for holder, attribute in [(owner, name), *_importers(old)]:
                undo.append((holder, attribute, vars(holder)[attribute]))
                setattr(holder, attribute, new)
        _forget(changed)
        yield
    finally:
        for holder, attribute, old in reversed(undo):
            setattr(holder, attribute, old)
        _forget(changed)


def check(patches: Iterable[Patch]) -> list[str]:
    """What is wrong with the patches of one fault: nothing where they apply."""
    try:
        for target, source in changed_sources(patches).items():
            _changed(target, source)
    except (HarnessError, SyntaxError) as reason:
        return [str(reason)]
    return []


def changed_sources(patches: Iterable[Patch]) -> dict[str, str]:
    """The source of each function that is changed, by target; several changes of one are made one after another.

    Raises UsageError where there is no such function, or where what a patch replaces does not stand in it exactly once.
    """
    sources: dict[str, str] = {}
    for patch in patches:
        if patch.target not in sources:
            sources[patch.target] = textwrap.dedent(inspect.getsource(_function(patch.target)))
        count = sources[patch.target].count(patch.old)
        if count != 1:
            raise UsageError(
                "patch does not apply",
                where=f"{patch.target} in {inspect.getsourcefile(_function(patch.target))}",
                expected=f"exactly once: {patch.old!r}",
                got=f"{count} times",
            )
        sources[patch.target] = sources[patch.target].replace(patch.old, patch.new)
    return sources


def _held(target: str) -> tuple[Any, str, Any]:
    """The class or module that has the function, its name there, and what it has, descriptors as they are."""
    module, _, path = target.partition(":")
    owner_path, _, name = path.rpartition(".")
    load(target)  # raises for a name that is not there
    owner = load(f"{module}:{owner_path}") if owner_path else sys.modules[module]
    if name not in vars(owner):
        raise UsageError("function is inherited", where=target, try_="the class that defines it")
    return owner, name, vars(owner)[name]


def _function(target: str) -> Any:
    """The plain function below descriptors and decorators."""
    _, _, held = _held(target)
    below: Any = held.fget if isinstance(held, property) else getattr(held, "__func__", held)
    function = inspect.unwrap(below)
    if not inspect.isfunction(function):
        raise UsageError("not a function", where=target, got=type(function).__name__)
    return function


def _changed(target: str, source: str) -> Any:
    """The source compiled as it stands in its file: decorated, and in a class where it was in one."""
    owner, name, _ = _held(target)
    function = _function(target)
    # The parameter is the cell that `super()` looks for.
    factory = ast.parse(f"def {_FACTORY}(__class__): return {name}")
    (made,) = factory.body
    assert isinstance(made, ast.FunctionDef)
    body = ast.parse(source)
    ast.increment_lineno(body, function.__code__.co_firstlineno - 1)
    made.body[:0] = body.body
    flags = function.__code__.co_flags & __future__.annotations.compiler_flag
    code = compile(factory, function.__code__.co_filename, "exec", flags=flags, dont_inherit=True)
    within = function.__qualname__.removesuffix(function.__name__)
    names: dict[str, Any] = {}
    exec(_renamed(code, f"{_FACTORY}.<locals>.", within), function.__globals__, names)
    new = names[_FACTORY](owner)
    new_function = inspect.unwrap(getattr(new, "__func__", new))
    if inspect.isfunction(new_function):
        new_function.__qualname__ = function.__qualname__
    return new


def _renamed(code: CodeType, old: str, new: str) -> CodeType:
    """The code with other qualified names, of the functions in it too: a traceback reads as in the file."""
    consts = tuple(_renamed(each, old, new) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_consts=consts, co_qualname=code.co_qualname.replace(old, new, 1))


def planted_lines(patches: Iterable[Patch]) -> list[tuple[str, int]]:
    """File and number of each line that the patches put in, as a traceback has it while they are planted."""
    found: list[tuple[str, int]] = []
    for target, source in changed_sources(patches).items():
        function = _function(target)
        code, old = function.__code__, textwrap.dedent(inspect.getsource(function))
        matcher = SequenceMatcher(None, old.splitlines(), source.splitlines(), autojunk=False)
        found += [
            (code.co_filename, code.co_firstlineno + line)
            for kind, _, _, start, end in matcher.get_opcodes()
            if kind != "equal"
            for line in range(start, end)
        ]
    return found


def _importers(held: Any) -> list[tuple[ModuleType, str]]:
    """Where else a function is known by a name of its own: in the modules that imported it."""
    return [
        (module, name)
        for module in list(sys.modules.values())
        if isinstance(module, ModuleType)
        for name, value in list(vars(module).items())
        if value is held
    ]


def _forget(targets: Iterable[str]) -> None:
    """Empties every cache of programs and of results that may hold what the candidate computed until here."""
    jax.clear_caches()
    packages = {target.partition(":")[0].partition(".")[0] for target in targets}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in packages:
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
