"""A preset's config, weights and case inputs with some of them changed: what a reference is rebuilt from."""

import copy
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import ml_dtypes
import numpy as np

from paritygate.core.errors import UsageError, unknown_name

Arrays = Mapping[str, np.ndarray]


def changed_config(
    config: Mapping[str, Any], changes: Mapping[str, Callable[[Any], Any]], where: str
) -> dict[str, Any]:
    """The config with the values at some dotted keys changed.

    A key of the top level may be new: a model's own default then held. Raises UsageError on another that is not there.
    """
    found = copy.deepcopy(dict(config))
    for path, change in changes.items():
        *parents, name = path.split(".")
        target = found
        for parent in parents:
            target = target.get(parent)
            if not isinstance(target, dict):
                raise _no_such_key(where, path)
        if parents and name not in target:
            raise _no_such_key(where, path)
        try:
            target[name] = change(target.get(name))
        except TypeError:  # a number was to be changed, and there is none
            raise _no_such_key(where, path) from None
    return found


def instead(value: Any) -> Callable[[Any], Any]:
    """The change that puts `value` in the place of whatever was there."""
    return lambda _: value


def _no_such_key(where: str, path: str) -> UsageError:
    return UsageError("override of a key that is not there", where=where, got=path)


def changed_weights(
    weights: Arrays, changes: Mapping[str, Callable[[np.ndarray], np.ndarray]], where: str
) -> dict[str, np.ndarray]:
    """The weights, those changed whose name matches a pattern; raises UsageError where none does."""
    found = dict(weights)
    for pattern, change in changes.items():
        names = [name for name in found if fnmatchcase(name, pattern)]
        if not names:
            raise UsageError("override matches no weight", where=where, got=pattern)
        found |= {name: change(found[name]) for name in names}
    return found


def exchanged_weights(weights: Arrays, pattern: str, part: str, other: str, where: str) -> dict[str, np.ndarray]:
    """The weights, each that matches the pattern in the place of the one that has the other part in its name."""
    names = [name for name in weights if fnmatchcase(name, pattern) and part in name]
    pairs = {name: partner for name in names if (partner := name.replace(part, other)) in weights}
    if not pairs:
        raise UsageError("override matches no pair of weights", where=where, got=f"{pattern}, {part} and {other}")
    return {**weights} | {a: weights[b] for a, b in pairs.items()} | {b: weights[a] for a, b in pairs.items()}


def shifted_inputs(
    case_inputs: Arrays, shifts: Mapping[str, int], axes: Mapping[str, int], where: str
) -> dict[str, np.ndarray]:
    """The case inputs with a number added to some of them, and some turned round along an axis.

    A case that has no such input, such as pictures, is left as it is.
    """
    known = {"tokens", "attention_mask", "position_ids", "labels", "slots", "pixels"}
    if unknown := sorted({*shifts, *axes} - known):
        raise unknown_name("case input", f"{unknown[0]} of {where}", sorted(known))
    found = {name: array + shifts[name] if name in shifts else array for name, array in case_inputs.items()}
    return found | {name: np.flip(found[name], axis) for name, axis in axes.items() if name in found}


def _halves_swapped(array: np.ndarray) -> np.ndarray:
    return np.concatenate(np.split(array, 2, axis=-1)[::-1], axis=-1)


def _halves_from_pairs(array: np.ndarray) -> np.ndarray:
    """What halves of the last axis are where the first of each pair makes one half and the second the other."""
    return np.concatenate([array[..., ::2], array[..., 1::2]], axis=-1)


def _transposed(array: np.ndarray) -> np.ndarray:
    """The transpose of a square matrix; one that is not square is as it was: its transpose would not load."""
    return array.swapaxes(-1, -2) if array.ndim > 1 and array.shape[-1] == array.shape[-2] else array


def _reshaped(array: np.ndarray) -> np.ndarray:
    """A matrix of the other layout that was reshaped where it had to be transposed."""
    *leading, rows, columns = array.shape
    return array.reshape(*leading, columns, rows).swapaxes(-1, -2)


def _through_8_bits(array: np.ndarray) -> np.ndarray:
    return array.astype(ml_dtypes.float8_e4m3fn).astype(array.dtype)


OPERATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "zero": np.zeros_like,
    "one": np.ones_like,
    "negate": np.negative,
    "reverse": lambda array: np.flip(array, 0),
    "last first": lambda array: np.roll(array, 1, 0),
    "transpose": _transposed,
    "reshape": _reshaped,
    "swap halves": _halves_swapped,
    "halves from pairs": _halves_from_pairs,
    "8 bits": _through_8_bits,
}


def operation(name: str, where: str) -> Callable[[np.ndarray], np.ndarray]:
    """The operation on a weight of that name; raises UsageError on an unknown one."""
    if name not in OPERATIONS:
        raise unknown_name("operation on a weight", f"{name} of {where}", list(OPERATIONS))
    return OPERATIONS[name]
