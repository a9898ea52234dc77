"""A family with other seeds: the same architecture, other weights and other text, to see what depends on the draw."""

from dataclasses import replace

from paritygate.core.errors import UsageError
from paritygate.core.family import Family

# Further apart than the seeds of any family's presets, of its prompts, and of the prompts that capture tries in turn.
_STRIDE = 1_000_000


def reseeded(family: Family, seed: int) -> Family:
    """The family with its `seed`th other weights and windows of text; 0 is the family itself.

    Everything that is drawn changes: weights, steering directions, and the text and places of pictures of each prompt.
    Presets that share their weights go on sharing them. Names stay, so that cases, suites and budgets mean what they
    mean of the family; the spec's hash does not, so that no golden of one seed is taken for another's.
    """
    if seed < 0:
        raise UsageError("bad seed of a family", where=family.name, expected="0 or more", got=str(seed))
    offset = seed * _STRIDE
    return replace(
        family,
        presets=tuple(replace(preset, seed=preset.seed + offset) for preset in family.presets),
        prompts=tuple(replace(prompt, seed=prompt.seed + offset) for prompt in family.prompts),
    )
