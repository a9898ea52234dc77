"""Manifests from a stranger: whatever they are, they are refused before anything is written."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paritygate.core.codec import canonical, from_json
from paritygate.core.errors import GoldenError, HarnessError
from paritygate.core.golden import Golden
from paritygate.store.golden import GoldenStore, parse
from paritygate.store.remote import Remote
from paritygate.store.transfer import pull, push

from toy.remotes import files, fill


def changed(store: GoldenStore, **change: Any) -> bytes:
    """A manifest whose digest is right, whatever else it says."""
    data = json.loads(store.path("toy", "toy-2.plain").read_text())
    port = data["ports"][0]
    for key, value in change.items():
        (data["case"] if key in data["case"] else port["tensor"] if key in port["tensor"] else data)[key] = value
    golden = from_json(Golden, data)
    return canonical(replace(golden, digest=golden.content_digest())).encode()


HOSTILE = {
    "climbing object": ({"object": "../../../../etc/passwd"}, "name that no object can have"),
    "absolute object": ({"object": "/etc/passwd"}, "name that no object can have"),
    "object in capitals": ({"object": "A" * 64}, "name that no object can have"),
    "object and a line": ({"object": "a" * 64 + "\n"}, "name that no object can have"),
    "unknown dtype": ({"dtype": "object"}, "golden names what is no object"),
    "negative shape": ({"shape": [-1, -8]}, "golden names what is no object"),
    "endless shape": ({"shape": [2**62] * 3}, "no room for these goldens"),
    "many axes": ({"shape": [10**4000] * 100}, "golden names what is no object"),
    "another case": ({"prompt": "other"}, "was changed after it was captured"),
    "climbing case": ({"prompt": "/../../x"}, "was changed after it was captured"),
    "another format": ({"format": 2}, "golden of another format"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_manifest_is_refused_before_anything_is_written(
    here: GoldenStore, there: GoldenStore, remote: Remote, how: str
) -> None:
    change, says = HOSTILE[how]
    push(here, remote)
    remote._fs.pipe_file("/goldens/toy/toy-2.plain.json", changed(here, **change))
    fill(there, 1.0, "other")
    before = files(there.root)
    with pytest.raises(HarnessError, match=says):
        pull(there, remote)
    assert files(there.root) == before


def test_one_object_of_two_sizes_is_refused(here: GoldenStore, there: GoldenStore, remote: Remote) -> None:
    push(here, remote)
    name = here.read("toy", "toy-2.plain").weights["head.weight"].object
    remote._fs.pipe_file("/goldens/toy/toy-2.plain.json", changed(here, object=name))
    with pytest.raises(GoldenError, match="golden names one object as two"):
        pull(there, remote)
    tokens = here.read("toy", "toy-2.long").ports[0].tensor.object
    remote._fs.pipe_file("/goldens/toy/toy-2.plain.json", changed(here, object=tokens, shape=[25]))
    with pytest.raises(GoldenError, match="goldens disagree on an object"):
        pull(there, remote)


def test_names_that_are_no_goldens_are_passed_over(here: GoldenStore, there: GoldenStore, remote: Remote) -> None:
    push(here, remote)
    for path in ("toy/.hidden.json", "toy/a b.json", "toy/notes.txt", "objects/x.json", "baselines/a.b.json", "x.json"):
        remote._fs.pipe_file(f"/goldens/{path}", b"{}")
    assert len(pull(there, remote).changes) == 2


def test_a_name_that_no_pull_would_take_is_not_pushed(there: GoldenStore, remote: Remote) -> None:
    fill(there, 1.0, "a b")
    with pytest.raises(GoldenError, match=r"name that no golden of a remote can have: toy/toy-2\.a b"):
        push(there, remote)


ANY_JSON = st.sampled_from(
    [
        None,
        True,
        -1,
        10**400,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "x",
        "../x",
        "\0",
        "\ud800",
        [],
        [[]],
        {},
        {"": None},
    ]
)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_manifest_is_it_is_a_golden_or_a_golden_error(data: st.DataObject) -> None:
    whole = json.loads(MANIFEST)
    kind = data.draw(st.sampled_from(["bytes", "cut", "value"]))
    if kind == "bytes":
        content = data.draw(st.binary(max_size=60))
    elif kind == "cut":
        content = MANIFEST[: data.draw(st.integers(0, len(MANIFEST) - 1))]
    else:
        at = whole
        while isinstance(at, dict | list) and at and data.draw(st.booleans()):
            key = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
            at, above = at[key], at
            above[key] = data.draw(ANY_JSON) if not isinstance(at, dict | list) or not at else at
        content = json.dumps(whole).encode()
    try:
        assert parse(content, "toy-2.plain", "x").case.id == "toy-2.plain"
    except GoldenError as refused:
        assert refused.exit_code == 3


def test_nesting_without_an_end_is_refused() -> None:
    deep = "[" * 100_000
    for content in (deep, MANIFEST.decode().replace('"width": 4', f'"width": {deep}')):
        with pytest.raises(GoldenError, match="cannot be read"):
            parse(content.encode(), "toy-2.plain", "x")


@pytest.fixture(scope="module", autouse=True)
def _manifest(tmp_path_factory: pytest.TempPathFactory) -> None:
    global MANIFEST
    store = fill(GoldenStore(tmp_path_factory.mktemp("manifest")))
    MANIFEST = store.path("toy", "toy-2.plain").read_bytes()


MANIFEST = b""
