"""Evaluates the reference side of a port: the value that a selector such as `call:f:result:0 | complex_pair` names."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from paritygate.core.errors import UsageError, unknown_name
from paritygate.core.family import PIXELS
from paritygate.core.layout import convert
from paritygate.core.site import Port, address
from paritygate.reference.hooks import Call
from paritygate.reference.tensors import to_numpy


def complex_pair(value: torch.Tensor) -> torch.Tensor:
    """Complex numbers as a last axis of two, real and imaginary."""
    return torch.view_as_real(value.resolve_conj())


def additive_mask(value: torch.Tensor) -> torch.Tensor:
    """True where a mask that is added to the scores lets a key be seen."""
    return value == 0


def chosen(scores: torch.Tensor) -> torch.Tensor:
    """The columns of each row that are not zero, ascending; every row must have as many."""
    picked = scores != 0
    counts = picked.sum(-1)
    if counts.min() != counts.max():
        raise ValueError(f"rows choose between {int(counts.min())} and {int(counts.max())} columns")
    return picked.nonzero()[:, -1].reshape(*scores.shape[:-1], int(counts.max()))


TRANSFORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    f.__name__: f for f in (complex_pair, additive_mask, chosen)
}


def value(port: Port, site: str, call: Call, case_inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, int]:
    """A port's value in the golden's layout, and when it was produced.

    Raises UsageError, naming the port and what the selector could not find.
    """
    where = address(site, port.name)
    path, _, transform = (part.strip() for part in port.reference.partition("|"))
    sizes = dict(zip("BT", case_inputs["tokens"].shape, strict=True))
    if PIXELS in case_inputs:
        sizes["I"] = len(case_inputs[PIXELS])
    source, *rest = path.split(":")
    if source == "case":
        return np.asarray(case_inputs[rest[0]]), call.entered
    found, order = _find(call, source, rest, where)
    if not isinstance(found, torch.Tensor):
        raise UsageError("selector names no tensor", where=where, expected=port.reference, got=type(found).__name__)
    if transform:
        if transform not in TRANSFORMS:
            raise unknown_name("transform", transform, list(TRANSFORMS))
        found = TRANSFORMS[transform](found)
    try:
        return convert(to_numpy(found), port.reference_layout or port.layout, port.layout, sizes), order
    except ValueError as reason:
        raise UsageError("layout does not fit", where=where, expected=port.layout, got=str(reason)) from reason


def _find(call: Call, source: str, rest: list[str], where: str) -> tuple[Any, int]:
    if source == "call":
        function, source, *rest = rest
        if not call.functions.get(function):
            raise UsageError(
                "tapped function was not called",
                where=where,
                expected=function,
                got=", ".join(call.functions) or "none",
            )
        call = call.functions[function][0]
    try:
        if source == "arg":
            return call.args[int(rest[0])], call.entered
        if source == "kwarg":
            return call.kwargs[rest[0]], call.entered
        if source == "result":
            result = call.result
            for key in rest:
                result = result[int(key) if key.isdigit() else key]
            return result, call.left
    except (IndexError, KeyError, TypeError) as reason:
        raise UsageError(
            "selector finds nothing",
            where=where,
            expected=":".join([source, *rest]),
            got=f"{len(call.args)} args, kwargs {', '.join(call.kwargs) or 'none'} ({reason!r})",
        ) from reason
    raise UsageError("bad selector", where=where, expected="arg, kwarg, result, call or case", got=source)
