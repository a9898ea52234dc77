"""Named places in the dataflow and the values seen there, the same in every framework."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from paritygate.core.cell import Mode


class Kind(StrEnum):
    """What a value is, and therefore how it is compared."""

    FLOAT = "float"
    INDEX = "index"
    MASK = "mask"


@dataclass(frozen=True)
class Port:
    """One value of a site.

    `name` is `in.NAME`, `inner.NAME`, `out` or `out.NAME`. `layout` is the golden's; a side whose own layout differs
    says so. Where a side shows the value is a selector:

    reference: `arg:0` · `kwarg:NAME` · `result` · `result:KEY` · `call:FUNCTION:result:KEY` · `case:INPUT`, then
    ` | TRANSFORM`. FUNCTION is one of the reference's tapped functions, called while this site's module runs.
    candidate: for an input the parameter's name; else `result` · `result:KEY` · `SUBMODULE` (a tap), then
    ` | TRANSFORM`.

    `traits` are layer traits that must all hold for the port to exist. `role` asks for further metrics (`logits`).
    `numerics` is the role whose dtype it has in a cell, such as `rope`: an input is given in it, and an output must
    have it where the policy names that role, else what the reference has.
    `fed` says for which prompts it exists: `whole` leaves out those that are fed piece by piece through a cache, under
    which two implementations hold keys and masks in other places.
    `placed` are the logical axes of its dimensions, as the candidate has it, where the candidate promises that a mesh
    splits it by the rules of these: `batch length embed`, `-` for one that has none.
    """

    name: str
    kind: Kind
    layout: str
    reference: str
    candidate: str
    reference_layout: str = ""
    candidate_layout: str = ""
    traits: tuple[str, ...] = ()
    role: str = ""
    numerics: str = "compute"
    fed: Literal["any", "whole"] = "any"
    placed: str = ""

    @property
    def is_input(self) -> bool:
        return self.name.startswith("in.")


@dataclass(frozen=True)
class Decision:
    """A discrete choice: the `choice` port takes the largest values of the `scores` port along its last axis."""

    choice: str
    scores: str


@dataclass(frozen=True)
class Site:
    """A module of the model, or one of its glue steps.

    `name`, `reference` and `candidate` may hold `{layer}`, or the placeholder of another stack of the preset: the site
    then exists once for each layer that has all of `traits`. `reference` and `candidate` are module paths. `function`
    names a tapped function that the module `reference` calls, where the site is that function and not the module: run
    alone it does nothing else, so that its floor is its own. `calls` is how often one forward pass runs it, in the
    same order on both sides. `fed` is as for a port; `pictures` asks for a prompt with pictures, and means that only
    the piece that they are given in runs the site.

    A site stands for its own module, if it shows that module's result, and for the tapped functions that it shows, but
    for no module inside. `covers` are patterns (fnmatch) of further modules and parameters of the reference that it
    stands for; `left_out` are those of its own module that another site stands for.
    """

    name: str
    reference: str
    candidate: str
    ports: tuple[Port, ...]
    traits: tuple[str, ...] = ()
    calls: int = 1
    modes: tuple[Mode, ...] = (Mode.ISOLATED, Mode.CHAINED)
    decisions: tuple[Decision, ...] = ()
    fed: Literal["any", "whole", "pictures"] = "any"
    function: str = ""
    covers: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    doc: str = ""

    @property
    def stack(self) -> str:
        """The placeholder in the name, which says whose layers the site is for; empty where there is none."""
        return placeholder(self.name)

    def at(self, layer: int | None, traits: tuple[str, ...]) -> "Site":
        """This site for one layer: names filled in, ports that the layer does not have left out."""
        fill = {self.stack: layer}
        return replace(
            self,
            name=self.name.format(**fill),
            reference=self.reference.format(**fill),
            candidate=self.candidate.format(**fill),
            covers=tuple(pattern.format(**fill) for pattern in self.covers),
            left_out=tuple(pattern.format(**fill) for pattern in self.left_out),
            ports=tuple(p for p in self.ports if set(p.traits) <= set(traits)),
        )


@dataclass(frozen=True)
class Glue:
    """The code of a module that joins sites and is none itself: it runs in the chained replay only.

    `reference` and `candidate` are module paths, empty for the whole model. `ports` are the values (`lm_head:out`) that
    it is seen in: the chained replay must compare each that the prompt shows, and there must be one.
    """

    name: str
    reference: str
    candidate: str
    ports: tuple[str, ...]
    doc: str = ""


def chosen(site: Site) -> list[Port]:
    """The ports of the choices that a site makes."""
    return [port for port in site.ports if port.name in {decision.choice for decision in site.decisions}]


def inner_sites(site: Site, sites: Iterable[Site]) -> list[Site]:
    """Those of `sites` whose module lies within the module of `site` on both sides, itself left out."""
    return [
        other
        for other in sites
        if other.reference.startswith(f"{site.reference}.") and other.candidate.startswith(f"{site.candidate}.")
    ]


def placeholder(text: str) -> str:
    """The first `{word}` of a name or a path, without its braces."""
    return text.partition("{")[2].partition("}")[0]


def address(site: str, port: str, call: int = 0) -> str:
    """`layers.3.attn:out`, with `#1` for a second call: the name of one value in logs, errors and the report."""
    return f"{site}:{port}" + (f"#{call}" if call else "")
