"""Where in a value its difference sits: the parts of its axes that hold nearly all of it, and the words for them."""

from dataclasses import dataclass
from typing import Literal

# One of them, and several, by the letter of the axis.
_WORDS = {
    "B": ("row", "rows"),
    "T": ("token", "tokens"),
    "S": ("key", "keys"),
    "N": ("head", "heads"),
    "K": ("key head", "key heads"),
    "G": ("head", "heads"),
    "D": ("channel", "channels"),
    "H": ("head channel", "head channels"),
    "F": ("inner channel", "inner channels"),
    "E": ("expert", "experts"),
    "V": ("vocabulary entry", "vocabulary entries"),
    "J": ("choice", "choices"),
    "R": ("part of a rotation", "parts of a rotation"),
    "I": ("tile", "tiles"),
    "P": ("patch", "patches"),
    # A gradient has no letters of its own: it has the axes of its weight.
    "X": ("place on the first axis", "places on the first axis"),
    "Y": ("place on the second axis", "places on the second axis"),
    "Z": ("place on the third axis", "places on the third axis"),
}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def axis_words(letter: str) -> tuple[str, str]:
    """What one index of an axis is called, and several: `head`, `heads`."""
    return _WORDS.get(letter, (f"index of axis {letter}", f"indices of axis {letter}"))


@dataclass(frozen=True)
class Where:
    """The part of one axis that holds `share` of the squared difference.

    `axis` is the letter of the layout and `size` its length. `places` are the indices for `at`, the first one for
    `from`, the last one for `to`, both for `between`; `even`, `odd` and `padding` (keys that are no real tokens) have
    none. Tokens, and keys without tokens beside them, are counted from the first real one of their row, through all
    pieces of a prompt.
    """

    axis: str
    pattern: Literal["at", "from", "to", "between", "even", "odd", "padding"]
    places: tuple[int, ...]
    size: int
    share: float

    @property
    def words(self) -> str:
        """`from token 8 on` · `at heads 2 and 3` · `in the first half of the channels` · `at even channels`."""
        one, several = axis_words(self.axis)
        match self.pattern:
            case "padding":
                return "at keys that are padding"
            case "even" | "odd":
                return f"at {self.pattern} {several}"
            case "at":
                return f"at {one if len(self.places) == 1 else several} {listed([str(i) for i in self.places])}"
            case "between":
                return f"at {several} {self.places[0]} to {self.places[1]}"
            case "from" if self.places[0] == self.size / 2 and self.axis not in "TS":
                return f"in the second half of the {several}"
            case "to" if self.places[0] == self.size / 2 - 1 and self.axis not in "TS":
                return f"in the first half of the {several}"
            case "from":
                return f"from {one} {self.places[0]} on"
            case "to":
                return f"up to {one} {self.places[0]}"


@dataclass(frozen=True)
class Block:
    """A stretch of an axis that a family has a name for: `size` is the config key of its length in a preset.

    >>> Block("T", "chunk", "attention_chunk_size").words(Where("T", "from", (8,), 38, 1.0), 8)
    'from the first token of the second chunk on'
    """

    axis: str
    name: str
    size: str

    def words(self, where: Where, length: int) -> str:
        """A part of the axis in blocks of `length`; empty where it does not fit them."""
        if where.axis != self.axis or length < 2:
            return ""
        one = _WORDS[self.axis][0]
        numbers, offsets = {i // length for i in where.places}, {i % length for i in where.places}
        match where.pattern:
            case "from" if offsets == {0}:
                return f"from the first {one} of the {ordinal(min(numbers))} {self.name} on"
            case "to" if offsets == {length - 1}:
                return f"up to the end of the {ordinal(max(numbers))} {self.name}"
            case "at" if len(numbers) > 1 and offsets in ({0}, {length - 1}):
                return f"at the {'first' if offsets == {0} else 'last'} {one} of {self.name}s of {length}"
            case "between" if [i % length for i in where.places] == [0, length - 1] and len(numbers) == 1:
                return f"in the {ordinal(min(numbers))} {self.name}"
            case _:
                return ""


def ordinal(index: int) -> str:
    """The word for the place of an index: `first` for 0."""
    if index < len(_ORDINALS):
        return _ORDINALS[index]
    number = index + 1
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
