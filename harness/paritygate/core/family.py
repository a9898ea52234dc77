"""What an architecture is to the harness: one spec of plain data. Code is named by dotted string, `module:function`."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Literal

from paritygate.core.cell import MeshLayout, Mode, written
from paritygate.core.codec import canonical, said
from paritygate.core.errors import UsageError, unknown_name
from paritygate.core.hypothesis import Hypothesis
from paritygate.core.lint import Expected
from paritygate.core.sensitivity import Aspect
from paritygate.core.side import Side
from paritygate.core.site import Glue, Site, placeholder
from paritygate.core.where import Block

PIXELS = "pixels"  # the case input of pictures: (I, C, h, w), without a token axis


@dataclass(frozen=True)
class WeightRule:
    """How the tensors whose name matches `pattern` (fnmatch) are drawn; the first rule that matches counts.

    `normal`: N(0, 1)·scale/√fan_in, `fan_in_axis` being the contracted axis (None: no division).
    `gain`: 1 + scale·N(0, 1). `steered`: as `normal`, plus `steer` times a unit vector of the preset, see
    `reference/weights.py`. Every value is exactly representable in bf16 and f16, so that a dtype costs arithmetic only.
    """

    pattern: str
    init: Literal["normal", "gain", "steered"]
    scale: float = 1.0
    fan_in_axis: int | None = -1
    steer: float = 0.0


@dataclass(frozen=True)
class Mechanism:
    """One thing a preset exercises, and how to switch it off in the reference to prove that a golden can see it.

    `config` overrides config keys; `weights` maps a name pattern to the constant that replaces those tensors;
    `inputs` maps a case input to the constant that replaces it, `reversed` to the axis along which it is turned round.
    `prompt` is the prompt that shows it.
    """

    name: str
    prompt: str
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, int] = field(default_factory=dict)
    reversed: Mapping[str, int] = field(default_factory=dict)
    doc: str = ""


@dataclass(frozen=True)
class Preset:
    """One size of a family. `layers` lists each layer's traits; `seed` draws the weights.

    `layers` is the stack of the sites whose name holds `{layer}`; `stacks` are further ones, by placeholder.
    `near_ties` are prompts on which a choice is so nearly tied that low precision may flip it: capture refuses them, or
    keeps what the peers have, so that what lies behind a flip can be compared without it.
    """

    name: str
    config: Mapping[str, Any]
    layers: tuple[tuple[str, ...], ...] = ()
    seed: int = 0
    directions: int = 0  # unit vectors of the `steered` weight rules: the number of experts; none: not steered
    mechanisms: tuple[Mechanism, ...] = ()
    stacks: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    near_ties: Literal["refused", "kept"] = "refused"
    doc: str = ""

    def stack(self, name: str) -> tuple[tuple[str, ...], ...]:
        """The traits of each layer of one stack; none where the preset has no such stack."""
        return self.layers if name == "layer" else self.stacks.get(name, ())


@dataclass(frozen=True)
class Picture:
    """A crop of a photograph of the catalog, shown after `at` bytes of its row's text.

    It makes `rows` × `columns` tiles of the model, one pixel of which is `zoom` of the photograph wide and high. The
    seed chooses the crop's place.
    """

    photo: str
    at: int
    rows: int = 1
    columns: int = 1
    zoom: int = 4


@dataclass(frozen=True)
class PromptRow:
    """One sequence: `pad_left` and `pad_right` padding tokens, masked `holes` (slots), first position `start`.

    `pictures` are put into its text, in this order.
    """

    pad_left: int = 0
    pad_right: int = 0
    holes: tuple[int, ...] = ()
    start: int = 0
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """A batch of token sequences of one length, cut from a text of the catalog. Tokens are the text's bytes.

    `pieces` are the lengths in which it is fed, one after another through a cache of kind `cache` (`dense`, or `paged`,
    where the candidate gets the tokens of all rows in one); none: all at once and without a cache. Its sites are then
    called once a piece and replayed chained only, so their inputs are not kept. Pictures lie in the first piece whole,
    and their pixels are given with it.
    `backward` names the output that is differentiated by every weight.
    """

    name: str
    rows: tuple[PromptRow, ...]
    length: int
    text: str = "prose"
    seed: int = 0
    pieces: tuple[int, ...] = ()
    cache: str = ""
    backward: Literal["", "loss"] = ""
    doc: str = ""

    def __post_init__(self):
        if self.pieces and (sum(self.pieces) != self.length or min(self.pieces) < 1 or not self.cache):
            raise UsageError(
                "pieces do not make up the prompt",
                where=self.name,
                expected=f"lengths of at least 1 that add up to {self.length}, and a kind of cache",
                got=f"{self.pieces}, cache {self.cache!r}",
            )

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First slot and end of each piece; one piece where the prompt is fed whole."""
        ends = list(accumulate(self.pieces or (self.length,)))
        return list(zip([0, *ends], ends, strict=False))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, row by row."""
        return tuple(picture for row in self.rows for picture in row.pictures)

    def given(self, side: "Side", start: int = 0) -> Mapping[str, str]:
        """What a side's model is given from slot `start` on: parameter to case input.

        Labels only whole, since a loss spans the pieces; pixels only with the first piece of a prompt with pictures.
        """
        left_out = {"labels"} if self.pieces else set()
        left_out |= {PIXELS} if start or not self.pictures else set()
        return {name: key for name, key in side.inputs.items() if key not in left_out}

    def calls(self, site: Site, piece: int) -> range:
        """A site's calls in one piece: each piece makes equally many, but that pictures are seen in the first only."""
        if site.fed == "pictures":
            return range(0 if piece else site.calls)
        each = site.calls // len(self.spans)
        return range(piece * each, (piece + 1) * each)

    def span(self, site: Site, call: int) -> tuple[int, int]:
        """The first slot and the end of the piece that a site's call belongs to."""
        return next(span for piece, span in enumerate(self.spans) if call in self.calls(site, piece))


@dataclass(frozen=True)
class Dimension:
    """A config key, dots into nested ones, that says into how many parts a logical axis of parameters can be split.

    A mesh must divide it: 2 key heads are not split over 4 devices, whatever their width. With a `trait`, only where a
    layer of the preset has it: a model without experts may well have a number of them.
    """

    logical: str
    key: str
    trait: str = ""


@dataclass(frozen=True)
class Branch:
    """A choice between computations that a config makes, and what there is to choose.

    `key` is a config key, with dots into nested ones, or the placeholder of a stack, whose layers' traits are the
    values then. `default` is what a config has chosen that does not hold the key.
    """

    key: str
    values: tuple[Any, ...]
    default: Any = None
    doc: str = ""

    def taken(self, preset: Preset) -> list[Any]:
        """The values that a preset has chosen, those that the branch does not list left out."""
        traits = {trait for layer in preset.stack(self.key) for trait in layer}
        value = _configured(preset.config, self.key, self.default)
        return [choice for choice in self.values if choice in traits or choice == value]


@dataclass(frozen=True)
class Family:
    """An architecture: how both sides are built, their sites, and what is run on them.

    `blocks` are the stretches of an axis that it has a name for, so that a place is said in its words. `glue` is what
    joins the sites; `branches` is what its configs choose between; `hypotheses` are known ways to get it wrong.
    `expected` are the findings of the precision lint that are as they must be: where there are any, others fail the
    gate. `aspects` are the parts of a dtype policy that `dtypes` narrows one at a time. `cells` are what a suite is run
    in, by name, where that is not the default. `axes` are the logical axes, of the rules of mesh layouts, that letters
    of layouts stand for; `dimensions` are those of parameters that a mesh must divide. `auto_caches` are the kinds of
    cache that the candidate lays on auto axes only.
    """

    name: str
    reference: Side
    candidate: Side
    sites: tuple[Site, ...]
    presets: tuple[Preset, ...]
    prompts: tuple[Prompt, ...]
    weights: tuple[WeightRule, ...]
    suites: Mapping[str, tuple[str, ...]]  # suite name → case ids
    variants: Mapping[str, str] = field(
        default_factory=dict
    )  # name → function() → context in which a kernel is another
    min_margin_x: float = 0.0  # smallest routing margin a case may have, in units of bf16 eps · rms of the scores
    blocks: tuple[Block, ...] = ()
    glue: tuple[Glue, ...] = ()
    branches: tuple[Branch, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()
    expected: tuple[Expected, ...] = ()
    aspects: tuple[Aspect, ...] = ()
    cells: Mapping[str, str] = field(default_factory=dict)
    axes: Mapping[str, str] = field(default_factory=dict)
    dimensions: tuple[Dimension, ...] = ()
    auto_caches: tuple[str, ...] = ()
    doc: str = ""

    def unfit(self, preset: Preset, layout: MeshLayout, prompt: Prompt | None = None) -> str:
        """Why a model of this size cannot lie on a mesh, or not be fed this prompt there; empty where it can.

        `tp4 does not divide num_heads = 2`
        """
        if layout.devices == 1:
            return ""
        if not self.candidate.sharded:
            return f"family {self.name} does not say how its candidate is put on a mesh"
        if prompt is not None and prompt.cache in self.auto_caches and layout.types == "explicit":
            return f"the candidate's {prompt.cache} cache takes auto axes only"
        found, layers = [], [layer for stack in (preset.layers, *preset.stacks.values()) for layer in stack]
        for dimension in self.dimensions:
            if dimension.trait and not any(dimension.trait in layer for layer in layers):
                continue
            axes, size = layout.rules.get(dimension.logical, ()), _configured(preset.config, dimension.key, None)
            if isinstance(size, int) and size % layout.ways(axes):
                ways = written(tuple((axis, dict(layout.axes)[axis]) for axis in axes))
                found.append(f"{ways} does not divide {dimension.key} = {size}")
        return "; ".join(dict.fromkeys(found))

    def preset(self, name: str) -> Preset:
        for preset in self.presets:
            if preset.name == name:
                return preset
        raise unknown_name("preset", name, [p.name for p in self.presets])

    def prompt(self, name: str) -> Prompt:
        for prompt in self.prompts:
            if prompt.name == name:
                return prompt
        raise unknown_name("prompt", name, [p.name for p in self.prompts])

    def sites_for(self, preset: Preset, prompt: Prompt) -> list[Site]:
        """The sites and ports of a preset that a prompt shows: in pieces, each is called once a piece."""
        sites = [site for site in self.sites_of(preset) if site.fed != "pictures" or prompt.pictures]
        if not prompt.pieces:
            return sites
        return [
            replace(
                site,
                ports=tuple(port for port in site.ports if port.fed == "any" and not port.is_input),
                calls=site.calls * (len(prompt.pieces) if site.fed == "any" else 1),
                modes=tuple(mode for mode in site.modes if mode is Mode.CHAINED),
            )
            for site in sites
            if site.fed != "whole"
        ]

    def sites_of(self, preset: Preset) -> list[Site]:
        """Every site of a preset, layers filled in, in the order of the spec."""
        found: list[Site] = []
        for site in self.sites:
            for path in (site.reference, site.candidate):
                if placeholder(path) not in ("", site.stack):
                    raise UsageError(
                        "module of one layer at a site of no layer",
                        where=f"{self.name}/{preset.name}: {site.name}",
                        expected=f"{{{placeholder(path)}}} in the site's name too",
                        got=f"{site.reference} and {site.candidate}",
                    )
            if not site.stack:
                found.append(site.at(None, ()))
                continue
            found += [
                site.at(layer, traits)
                for layer, traits in enumerate(preset.stack(site.stack))
                if set(site.traits) <= set(traits)
            ]
        where = f"{self.name}/{preset.name}"
        if twice := _twice(site.name for site in found):
            raise UsageError("two sites have one name", where=where, got=twice)
        for site in found:
            if twice := _twice(port.name for port in site.ports):
                raise UsageError("two ports of a site have one name", where=f"{where}: {site.name}", got=twice)
        return found


def _configured(config: Mapping[str, Any], key: str, default: Any) -> Any:
    """What a config has at a dotted key; the default where it has nothing there."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part, default) if isinstance(value, Mapping) else default
    return value


def _twice(names: Iterable[str]) -> str:
    return ", ".join(sorted(name for name, count in Counter(names).items() if count > 1))


def _without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


@dataclass(frozen=True)
class Case:
    """All that fixes the reference numbers: family, preset, prompt. Written `tiny-scout.long`."""

    family: str
    preset: str
    prompt: str

    @property
    def id(self) -> str:
        return f"{self.preset}.{self.prompt}"

    def spec_hash(self, family: "Family", text: str = "") -> str:
        """The sha256 of everything in the family that fixes this case's reference numbers, and of the prompt's `text`.

        A golden with another hash is stale. Candidate selectors, budgets and prose do not count, nor do fields that are
        at their default.
        """
        preset, prompt = family.preset(self.preset), family.prompt(self.prompt)
        counted = {
            "text": text,
            "preset": _without(said(preset), "name", "mechanisms", "doc"),
            "prompt": _without(said(prompt), "doc"),
            "weights": said(family.weights),
            "reference": said(family.reference),
            "min_margin_x": family.min_margin_x,
            "sites": [
                {
                    **_without(said(site), "candidate", "traits", "fed", "covers", "left_out", "doc"),
                    "ports": [
                        _without(said(port), "candidate", "candidate_layout", "traits", "numerics", "fed", "placed")
                        for port in site.ports
                    ],
                }
                for site in family.sites_for(preset, prompt)
            ],
        }
        return hashlib.sha256(canonical(counted).encode()).hexdigest()

    @classmethod
    def parse(cls, family: str, text: str) -> "Case":
        preset, dot, prompt = text.rpartition(".")
        if not dot or not preset or not prompt:
            raise UsageError("bad case", where=repr(text), expected="preset.prompt, such as tiny-scout.long")
        return cls(family, preset, prompt)
