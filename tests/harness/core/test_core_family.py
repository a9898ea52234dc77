"""A family's spec: which sites a preset has, and which changes of the spec make a golden stale."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest

from paritygate.catalog import select
from paritygate.core.cell import Mode
from paritygate.core.errors import UsageError
from paritygate.core.family import (
    PIXELS,
    Branch,
    Case,
    Family,
    Mechanism,
    Picture,
    Preset,
    Prompt,
    PromptRow,
    Side,
    WeightRule,
)
from paritygate.core.site import Decision, Glue, Kind, Port, Site, address

X = Port("in.x", Kind.FLOAT, "B T D", "arg:0", "x")
OUT = Port("out", Kind.FLOAT, "B T D", "result", "result")
LOGITS = Port("inner.scores", Kind.FLOAT, "B T E", "call:route:result", "tap_scores", traits=("moe",))
CHOICE = Port("inner.choice", Kind.INDEX, "B T K", "call:route:result:1", "tap_choice", traits=("moe",))

FAMILY = Family(
    name="f",
    reference=Side("ref:build", {"tokens": "tokens"}, ("ref:route",)),
    candidate=Side("cand:build", {"tokens": "tokens"}),
    sites=(
        Site("embed", "embed", "embed", (X, OUT)),
        Site("layers.{layer}", "h.{layer}", "blocks.{layer}", (X, LOGITS, CHOICE, OUT), doc="a block"),
        Site("layers.{layer}.moe", "h.{layer}.moe", "blocks.{layer}.moe", (X, OUT), traits=("moe",)),
        Site("layers.{layer}.rope", "rotary", "rope", (X, OUT), traits=("moe", "rope")),
    ),
    presets=(
        Preset("small", {"width": 8, "eps": 1e-5}, (("rope",), ("moe", "rope"), ("moe",)), seed=3),
        Preset("dense", {"width": 8}, ((), ())),
    ),
    prompts=(Prompt("long", (PromptRow(), PromptRow(pad_left=2)), 12, seed=5), Prompt("short", (PromptRow(),), 3)),
    weights=(WeightRule("*.norm", "gain", 0.3), WeightRule("*", "normal")),
    suites={"s": ("small.long",)},
)
CASE = Case("f", "small", "long")


def test_sites_of_a_preset_follow_its_layers_traits() -> None:
    found = FAMILY.sites_of(FAMILY.preset("small"))
    assert [(site.name, site.reference, site.candidate) for site in found] == [
        ("embed", "embed", "embed"),
        ("layers.0", "h.0", "blocks.0"),
        ("layers.1", "h.1", "blocks.1"),
        ("layers.2", "h.2", "blocks.2"),
        ("layers.1.moe", "h.1.moe", "blocks.1.moe"),
        ("layers.2.moe", "h.2.moe", "blocks.2.moe"),
        ("layers.1.rope", "rotary", "rope"),
    ]
    assert [site.name for site in FAMILY.sites_of(FAMILY.preset("dense"))] == ["embed", "layers.0", "layers.1"]


def test_ports_follow_the_layers_traits_too() -> None:
    ports = {site.name: [port.name for port in site.ports] for site in FAMILY.sites_of(FAMILY.preset("small"))}
    assert ports["layers.0"] == ["in.x", "out"]
    assert ports["layers.1"] == ports["layers.2"] == ["in.x", "inner.scores", "inner.choice", "out"]


def test_a_site_keeps_all_else_when_it_is_filled_in() -> None:
    spec = Site(
        "l.{layer}", "r", "c", (OUT,), ("moe",), 2, (Mode.CHAINED,), (Decision("inner.choice", "inner.scores"),), "doc"
    )
    assert spec.at(4, ("moe",)) == replace(spec, name="l.4")


def changed_site(index: int, **changes: object) -> Family:
    sites = list(FAMILY.sites)
    sites[index] = replace(sites[index], **changes)
    return replace(FAMILY, sites=tuple(sites))


def changed_port(**changes: object) -> Family:
    return changed_site(0, ports=(X, replace(OUT, **changes)))


def changed_preset(**changes: object) -> Family:
    return replace(FAMILY, presets=(replace(FAMILY.presets[0], **changes), *FAMILY.presets[1:]))


def changed_prompt(**changes: object) -> Family:
    return replace(FAMILY, prompts=(replace(FAMILY.prompts[0], **changes), *FAMILY.prompts[1:]))


STALE: dict[str, Callable[[], Family]] = {
    "a config value": lambda: changed_preset(config={"width": 8, "eps": 1e-6}),
    "a config key": lambda: changed_preset(config={"width": 8}),
    "a layer's traits": lambda: changed_preset(layers=(("rope",), ("moe", "rope"), ("moe", "rope"))),
    "the number of layers": lambda: changed_preset(layers=(("rope",), ("moe", "rope"))),
    "the weight seed": lambda: changed_preset(seed=4),
    "the number of directions": lambda: changed_preset(directions=4),
    "the prompt's padding": lambda: changed_prompt(rows=(PromptRow(), PromptRow(pad_left=3))),
    "a picture": lambda: changed_prompt(rows=(PromptRow(), PromptRow(pad_left=2, pictures=(Picture("chelsea", 1),)))),
    "what makes pictures": lambda: replace(FAMILY, reference=replace(FAMILY.reference, pictures="ref:pictures")),
    "a site that is a function": lambda: changed_site(0, function="route"),
    "a hole": lambda: changed_prompt(rows=(PromptRow(), PromptRow(pad_left=2, holes=(5,)))),
    "the prompt's length": lambda: changed_prompt(length=13),
    "the prompt's seed": lambda: changed_prompt(seed=6),
    "the prompt's text": lambda: changed_prompt(text="verse"),
    "a weight rule": lambda: replace(FAMILY, weights=(WeightRule("*.norm", "gain", 0.4), WeightRule("*", "normal"))),
    "the order of weight rules": lambda: replace(FAMILY, weights=FAMILY.weights[::-1]),
    "the reference's builder": lambda: replace(FAMILY, reference=replace(FAMILY.reference, build="ref2:build")),
    "the reference's inputs": lambda: replace(FAMILY, reference=replace(FAMILY.reference, inputs={"ids": "tokens"})),
    "a tapped function": lambda: replace(FAMILY, reference=replace(FAMILY.reference, functions=())),
    "the margin asked for": lambda: replace(FAMILY, min_margin_x=2.0),
    "one more site": lambda: replace(FAMILY, sites=(*FAMILY.sites, Site("head", "head", "head", (X,)))),
    "a site's name": lambda: changed_site(0, name="wte"),
    "a site's reference module": lambda: changed_site(0, reference="wte"),
    "a site's calls": lambda: changed_site(0, calls=2),
    "a site's modes": lambda: changed_site(0, modes=(Mode.CHAINED,)),
    "a decision": lambda: changed_site(1, decisions=(Decision("inner.choice", "inner.scores"),)),
    "one port less": lambda: changed_site(0, ports=(OUT,)),
    "a port's name": lambda: changed_port(name="out.x"),
    "a port's kind": lambda: changed_port(kind=Kind.MASK),
    "a port's layout": lambda: changed_port(layout="B D T"),
    "a port's reference selector": lambda: changed_port(reference="result:0"),
    "a port's layout in the reference": lambda: changed_port(reference_layout="(B T) D"),
    "a port's role": lambda: changed_port(role="logits"),
}

FRESH: dict[str, Callable[[], Family]] = {
    "the family's name": lambda: replace(FAMILY, name="g"),
    "the candidate's builder": lambda: replace(FAMILY, candidate=replace(FAMILY.candidate, build="mine:build")),
    "the candidate's interpreter": lambda: replace(
        FAMILY, candidate=replace(FAMILY.candidate, interpreter="/opt/python")
    ),
    "a site's candidate module": lambda: changed_site(0, candidate="wte"),
    "a port's candidate selector": lambda: changed_port(candidate="result:x"),
    "a port's layout in the candidate": lambda: changed_port(candidate_layout="T B D"),
    "the role of a port's dtype": lambda: changed_port(numerics="rope"),
    "what a site covers": lambda: changed_site(0, covers=("wte.*",), left_out=("wte.bias",)),
    "the family's glue": lambda: replace(FAMILY, glue=(Glue("model", "", "", ("out:out",)),)),
    "the family's config branches": lambda: replace(FAMILY, branches=(Branch("eps", (1e-5, 1e-6)),)),
    "a site's prose": lambda: changed_site(0, doc="where it starts"),
    "a prompt's prose": lambda: changed_prompt(doc="long enough"),
    "a preset's prose": lambda: changed_preset(doc="small"),
    "the family's prose": lambda: replace(FAMILY, doc="f"),
    "a mechanism": lambda: changed_preset(mechanisms=(Mechanism("m", "long"),)),
    "another preset": lambda: replace(FAMILY, presets=(FAMILY.presets[0],)),
    "another prompt": lambda: replace(FAMILY, prompts=(FAMILY.prompts[0],)),
    "one more suite": lambda: replace(FAMILY, suites={"s": ("small.long",), "t": ("small.long",)}),
    "the order of config keys": lambda: changed_preset(config={"eps": 1e-5, "width": 8}),
    "a site that this preset lacks": lambda: replace(
        FAMILY, sites=(*FAMILY.sites, Site("layers.{layer}.x", "x", "x", (X,), traits=("vision",)))
    ),
    "a port that this preset lacks": lambda: changed_site(
        0, ports=(X, OUT, replace(OUT, name="out.y", traits=("vision",)))
    ),
}


@pytest.mark.parametrize("change", STALE)
def test_this_makes_a_golden_stale(change: str) -> None:
    assert CASE.spec_hash(STALE[change]()) != CASE.spec_hash(FAMILY)


@pytest.mark.parametrize("change", FRESH)
def test_this_leaves_a_golden_good(change: str) -> None:
    assert CASE.spec_hash(FRESH[change]()) == CASE.spec_hash(FAMILY)


def test_a_field_that_is_new_and_at_its_default_changes_no_hash() -> None:
    @dataclass(frozen=True)
    class WiderPrompt(Prompt):
        brightness: int = 3
        colours: Mapping[str, int] = field(default_factory=dict)

    def with_prompt(**changes: object) -> str:
        wider = WiderPrompt("long", (PromptRow(), PromptRow(pad_left=2)), 12, seed=5, **changes)
        return CASE.spec_hash(replace(FAMILY, prompts=(wider,)))

    assert with_prompt() == CASE.spec_hash(FAMILY)
    assert len({with_prompt(), with_prompt(brightness=4), with_prompt(colours={"red": 1})}) == 3


def test_every_stale_change_has_a_hash_of_its_own() -> None:
    hashes = [CASE.spec_hash(make()) for make in STALE.values()]
    assert len(set(hashes)) == len(hashes)
    assert all(len(text) == 64 for text in hashes)


def test_cases_of_one_preset_differ_by_prompt() -> None:
    assert CASE.spec_hash(FAMILY) != Case("f", "small", "short").spec_hash(FAMILY)


@pytest.mark.parametrize(
    ("sites", "text"),
    [
        (
            (Site("x", "a", "a", (X,)), Site("x", "b", "b", (X,))),
            "two sites have one name: f/small\n  got       x",
        ),
        (
            (Site("layers.{layer}", "a", "a", (X,)), Site("layers.1", "b", "b", (X,))),
            "two sites have one name: f/small\n  got       layers.1",
        ),
        (
            (Site("layers.{layer}", "a", "a", (X, OUT, replace(OUT, traits=("moe",)))),),
            "two ports of a site have one name: f/small: layers.1\n  got       out",
        ),
        (
            (Site("norm", "h.{layer}.norm", "norm", (X,)),),
            "module of one layer at a site of no layer: f/small: norm\n"
            "  expected  {layer} in the site's name too\n"
            "  got       h.{layer}.norm and norm",
        ),
        (
            (Site("layers.{layer}.norm", "h.{layer}.norm", "t.{storey}.norm", (X,)),),
            "module of one layer at a site of no layer: f/small: layers.{layer}.norm\n"
            "  expected  {storey} in the site's name too\n"
            "  got       h.{layer}.norm and t.{storey}.norm",
        ),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(sites: tuple[Site, ...], text: str) -> None:
    family = replace(FAMILY, sites=sites)
    with pytest.raises(UsageError) as refused:
        family.sites_of(family.preset("small"))
    assert str(refused.value) == text


def test_ports_of_one_name_are_right_where_no_layer_has_both() -> None:
    sites = (Site("layers.{layer}", "a", "a", (replace(OUT, traits=("rope",)), replace(OUT, traits=("dense",)))),)
    family = replace(FAMILY, sites=sites)
    assert [len(site.ports) for site in family.sites_of(family.preset("small"))] == [1, 1, 0]


def test_unknown_preset_and_prompt_come_with_near_names() -> None:
    with pytest.raises(UsageError, match=r"^unknown preset: smal\n.*dense, small\n.*did you mean small\?$"):
        FAMILY.preset("smal")
    with pytest.raises(UsageError, match=r"^unknown prompt: shrot\n.*long, short\n.*did you mean short\?$"):
        FAMILY.prompt("shrot")


@pytest.mark.parametrize(("text", "preset", "prompt"), [("a.b", "a", "b"), ("tiny-1.5.long", "tiny-1.5", "long")])
def test_a_case_is_read_as_it_is_written(text: str, preset: str, prompt: str) -> None:
    case = Case.parse("f", text)
    assert case == Case("f", preset, prompt)
    assert case.id == text


@pytest.mark.parametrize("text", ["", "a", ".", "a.", ".b"])
def test_bad_cases(text: str) -> None:
    with pytest.raises(UsageError, match=r"^bad case: .*\n  expected  preset\.prompt, such as tiny-scout\.long$"):
        Case.parse("f", text)


@pytest.mark.parametrize(
    ("site", "port", "call", "text"),
    [("layers.3.attn", "out", 0, "layers.3.attn:out"), ("rope", "in.x", 2, "rope:in.x#2")],
)
def test_addresses(site: str, port: str, call: int, text: str) -> None:
    assert address(site, port, call) == text


def test_every_spec_of_the_catalog_agrees_with_itself() -> None:
    for family in select.families().values():
        for preset in family.presets:
            for site in family.sites_of(preset):
                names = {port.name for port in site.ports}
                assert site.ports and all({d.choice, d.scores} <= names for d in site.decisions), site.name


# prompts in pieces


def pieced(pieces: tuple[int, ...], cache: str = "dense") -> Prompt:
    return Prompt("p", (PromptRow(),), 6, pieces=pieces, cache=cache)


def test_spans_of_pieces_and_of_a_whole_prompt() -> None:
    assert pieced((3, 1, 2)).spans == [(0, 3), (3, 4), (4, 6)]
    assert Prompt("p", (PromptRow(),), 6).spans == [(0, 6)]


def test_a_call_belongs_to_its_piece() -> None:
    prompt = pieced((3, 1, 2))
    every, first = (Site("a", "a", "a", (X, OUT), calls=6, fed=fed) for fed in ("any", "pictures"))
    assert [prompt.span(every, call) for call in range(6)] == [(0, 3), (0, 3), (3, 4), (3, 4), (4, 6), (4, 6)]
    assert [prompt.span(first, call) for call in range(6)] == [(0, 3)] * 6
    assert [list(prompt.calls(every, piece)) for piece in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert [list(prompt.calls(first, piece)) for piece in range(3)] == [[0, 1, 2, 3, 4, 5], [], []]


@pytest.mark.parametrize(("pieces", "cache"), [((3, 2), "dense"), ((3, 0, 3), "dense"), ((7, -1), "dense"), ((6,), "")])
def test_pieces_that_do_not_make_up_the_prompt_are_refused(pieces: tuple[int, ...], cache: str) -> None:
    with pytest.raises(UsageError, match="pieces do not make up the prompt: p"):
        pieced(pieces, cache)


def test_in_pieces_sites_are_called_once_a_piece_and_run_chained_only() -> None:
    ports = (
        Port("in.x", Kind.FLOAT, "B T D", "arg:0", "x"),
        Port("inner.keys", Kind.FLOAT, "B S D", "arg:1", "keys", fed="whole"),
        Port("out", Kind.FLOAT, "B T D", "result", "result"),
    )
    sites = (Site("a", "a", "a", ports, calls=2), Site("masks", "b", "b", ports, fed="whole"))
    preset = Preset("one", {})
    family = Family("f", Side("m:r", {}), Side("m:c", {}), sites, (preset,), (), (), {})
    (site,) = family.sites_for(preset, pieced((3, 1, 2)))
    assert (site.calls, site.modes, [port.name for port in site.ports]) == (6, (Mode.CHAINED,), ["out"])
    assert family.sites_for(preset, Prompt("p", (PromptRow(),), 6)) == family.sites_of(preset)


def test_sites_of_pictures_are_called_once_in_all_and_only_where_there_are_pictures() -> None:
    sites = (Site("tower", "a", "a", (X, OUT), fed="pictures"), Site("text", "b", "b", (X, OUT)))
    preset = Preset("one", {})
    family = Family("f", Side("m:r", {}), Side("m:c", {}), sites, (preset,), (), (), {})
    shown = replace(pieced((3, 1, 2)), rows=(PromptRow(pictures=(Picture("chelsea", 1),)),))
    assert [(site.name, site.calls) for site in family.sites_for(preset, shown)] == [("tower", 1), ("text", 3)]
    assert [site.name for site in family.sites_for(preset, pieced((3, 1, 2)))] == ["text"]
    whole = replace(shown, pieces=(), cache="")
    assert [(site.name, site.modes) for site in family.sites_for(preset, whole)] == [
        (site.name, site.modes) for site in sites
    ]


def test_pixels_are_given_with_the_first_piece_of_a_prompt_with_pictures() -> None:
    side = Side("m:r", {"ids": "tokens", "pixel_values": PIXELS})
    shown = replace(pieced((3, 3)), rows=(PromptRow(pictures=(Picture("chelsea", 1),)),))
    assert shown.given(side) == side.inputs
    assert shown.given(side, 3) == {"ids": "tokens"}
    assert pieced((3, 3)).given(side) == {"ids": "tokens"}


def test_a_preset_has_stacks_by_placeholder() -> None:
    sites = (
        Site("layers.{layer}", "h.{layer}", "h.{layer}", (X, OUT)),
        Site("tower.{storey}", "t.{storey}", "t.{storey}", (X, OUT)),
        Site("tower.{storey}.moe", "t.{storey}.moe", "t.{storey}.moe", (X, OUT), traits=("moe",)),
    )
    two = Preset("two", {}, ((),), stacks={"storey": ((), ("moe",))})
    family = replace(FAMILY, sites=sites, presets=(two, Preset("flat", {}, ((),))))
    names = ["layers.0", "tower.0", "tower.1", "tower.1.moe"]
    assert [(site.name, site.reference) for site in family.sites_of(two)] == [
        (name, name.replace("layers", "h").replace("tower", "t")) for name in names
    ]
    assert [site.name for site in family.sites_of(family.preset("flat"))] == ["layers.0"]
    higher = replace(two, stacks={"storey": ((), (), ("moe",))})
    hashes = {
        Case("f", "two", "long").spec_hash(replace(family, presets=(preset,)))
        for preset in (two, higher, replace(two, stacks={}))
    }
    assert len(hashes) == 3


def test_labels_are_given_whole_only() -> None:
    side = Side("m:r", {"ids": "tokens", "labels": "labels"})
    assert pieced((3, 3)).given(side) == {"ids": "tokens"}
    assert Prompt("p", (PromptRow(),), 6).given(side) == side.inputs


def test_a_branch_says_what_a_preset_takes() -> None:
    preset = Preset("p", {"norm": True, "rope": {"type": "llama3"}}, (("moe", "rope"), ("dense",)))
    taken = {
        Branch("norm", (True, False)): [True],
        Branch("rope.type", ("default", "llama3")): ["llama3"],
        Branch("rope.type.deep", (1,), default=1): [1],
        Branch("bias", (False, True), default=False): [False],
        Branch("experts", (1, 2), default=4): [],
        Branch("layer", ("moe", "dense", "nope")): ["moe", "dense"],
        Branch("vision_layer", ("wide",)): [],
    }
    assert {branch: branch.taken(preset) for branch in taken} == taken
