"""The defaults of everything that a spec's hash is made of: the hash leaves them out, so none may change unseen."""

import dataclasses

from paritygate.core.family import Picture, Preset, Prompt, PromptRow, Side, WeightRule
from paritygate.core.site import Decision, Port, Site

HASHED = (Picture, Preset, Prompt, PromptRow, Side, WeightRule, Decision, Port, Site)
DEFAULTS = {
    "Picture": {"rows": 1, "columns": 1, "zoom": 4},
    "Preset": {
        "layers": (),
        "seed": 0,
        "directions": 0,
        "mechanisms": (),
        "doc": "",
        "stacks": {},
        "near_ties": "refused",
    },
    "Prompt": {"text": "prose", "seed": 0, "pieces": (), "cache": "", "backward": "", "doc": ""},
    "PromptRow": {"pad_left": 0, "pad_right": 0, "holes": (), "start": 0, "pictures": ()},
    "Side": {
        "functions": (),
        "interpreter": "",
        "cache": "",
        "cache_name": "past_key_values",
        "gradients": "",
        "pictures": "",
        "parameters": "",
        "narrowed": "",
        "abstract": "",
        "dispatches": ("auto",),
        "sharded": "",
    },
    "WeightRule": {"scale": 1.0, "fan_in_axis": -1, "steer": 0.0},
    "Decision": {},
    "Port": {
        "reference_layout": "",
        "candidate_layout": "",
        "traits": (),
        "role": "",
        "numerics": "compute",
        "fed": "any",
        "placed": "",
    },
    "Site": {
        "traits": (),
        "calls": 1,
        "modes": ("isolated", "chained"),
        "decisions": (),
        "fed": "any",
        "doc": "",
        "function": "",
        "covers": (),
        "left_out": (),
    },
}


def _default(field: dataclasses.Field) -> object:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def test_no_default_of_a_hashed_noun_has_changed():
    # One that has changes what goldens mean and leaves their hash: capture all of them again, or give the value in each
    # family. A new field goes into the table.
    found = {
        noun.__name__: {
            field.name: _default(field)
            for field in dataclasses.fields(noun)
            if _default(field) is not dataclasses.MISSING
        }
        for noun in HASHED
    }
    assert found == DEFAULTS
