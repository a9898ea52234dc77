"""Remotes: what a URL may be, what a server may do, what a stranger may be shown, and what the errors say."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from paritygate.core.errors import GoldenError, HarnessError, InfrastructureError, UsageError
from paritygate.store import remote as remotes
from paritygate.store.golden import GoldenStore
from paritygate.store.remote import PROTOCOLS, Remote, golden_path, object_path, open_remote
from paritygate.store.served import page_of, served_file
from paritygate.store.transfer import pull, push

from toy.remotes import Memory, Server, files, fill, serving

TOKEN = "only-the-server-may-see-this"


@pytest.fixture
def server(here: GoldenStore) -> Iterator[Server]:
    """A server that shows what a service would: the files that are served, and pages of links."""
    with serving() as running:
        running.files = files(here.root)
        for folder in ("", "toy"):
            page = page_of(here, folder)
            assert page is not None
            running.files[f"{folder}/" if folder else ""] = page.encode()
        yield running


# What a server may do


def test_a_pull_over_http_is_byte_for_byte_and_shows_the_token(
    here: GoldenStore, there: GoldenStore, server: Server
) -> None:
    pull(there, server.open(TOKEN))
    assert files(there.root) == files(here.root)
    assert {bearer for *_, bearer in server.asked} == {f"Bearer {TOKEN}"}
    assert len(server.asked) == 2 + 2 + 4  # two pages, two manifests, four objects: nothing is asked for twice
    assert TOKEN not in repr(vars(server.open())) + str(server.open(TOKEN))


def test_a_connection_that_is_cut_is_made_again(here: GoldenStore, there: GoldenStore, server: Server) -> None:
    server.ways = {"cut"}
    pull(there, server.open())
    assert files(there.root) == files(here.root)
    assert len(server.asked) == 2 + 2 + 4 + 1


@pytest.mark.parametrize("ways", ["ranges", "no ranges"])
def test_a_part_goes_on_from_a_server_that_knows_ranges_and_from_one_that_does_not(
    here: GoldenStore, there: GoldenStore, server: Server, ways: str
) -> None:
    server.ways = {ways}
    whole = here.objects.path(here.read("toy", "toy-2.plain").ports[0].tensor.object)
    part = (there.root / whole.relative_to(here.root)).with_name(f".{whole.name}.part.tmp")
    part.parent.mkdir(parents=True)
    part.write_bytes(whole.read_bytes()[:100])
    pull(there, server.open())
    assert files(there.root) == files(here.root)
    assert "bytes=100-" in {wanted for _, wanted, _ in server.asked}


def test_a_part_that_is_whole_asks_for_nothing(here: GoldenStore, there: GoldenStore, server: Server) -> None:
    name = here.objects.names()[0]
    part = there.objects.path(name).with_name(f".{name}.safetensors.part.tmp")
    part.parent.mkdir(parents=True)
    part.write_bytes(here.objects.path(name).read_bytes())
    pull(there, server.open())
    assert files(there.root) == files(here.root)
    assert not [path for path, *_ in server.asked if name in path]


def test_a_server_that_is_busy_is_asked_again(here: GoldenStore, there: GoldenStore, server: Server) -> None:
    server.ways = {"busy"}
    pull(there, server.open())
    assert files(there.root) == files(here.root)


def test_a_server_without_an_end_is_cut_off(there: GoldenStore, server: Server) -> None:
    server.ways = {"endless"}
    with pytest.raises(GoldenError, match="object of the remote is not what its name says") as caught:
        pull(there, server.open())
    assert caught.value.got == "more"
    assert not there.suites()


def test_a_page_without_an_end_is_cut_off(there: GoldenStore, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "LISTING_BYTES", 10)
    with pytest.raises(GoldenError, match="remote sends too much"):
        pull(there, server.open())


def test_a_server_that_refuses_says_what_it_wants_to_see_and_no_token(there: GoldenStore, server: Server) -> None:
    server.ways, remote = {"closed"}, server.open(TOKEN)
    with pytest.raises(InfrastructureError, match="remote refuses access") as caught:
        pull(there, remote)
    assert caught.value.try_ == "PARITYGATE_TOKEN, a token that may read"
    assert "401" in caught.value.got
    assert TOKEN not in str(caught.value)
    assert len(server.asked) == 1
    assert not remote._fs._session.connector._acquired, "a connection that is left open is told of at the end"


def test_a_token_is_not_carried_to_another_server(here: GoldenStore, there: GoldenStore, server: Server) -> None:
    with serving() as other:
        other.files, server.moved_to = server.files, other.url
        pull(there, server.open(TOKEN))
        assert files(there.root) == files(here.root)
        assert {bearer for *_, bearer in other.asked} == {""}


def test_a_token_goes_over_tls_or_to_this_machine_unless_somebody_says_otherwise() -> None:
    with pytest.raises(UsageError, match="the token would be sent unencrypted: host") as caught:
        open_remote("http://host:8321/api/goldens", TOKEN)
    assert TOKEN not in str(caught.value)
    open_remote("http://host:8321/api/goldens", TOKEN, "any-network")
    open_remote("http://127.0.0.1:8321/api/goldens", TOKEN)
    assert open_remote("http://[::1]:8321/api/goldens", TOKEN)._at("x") == "http://[::1]:8321/api/goldens/x"
    with pytest.raises(UsageError, match="the token would be sent unencrypted: 2001:db8::1"):
        open_remote("http://[2001:db8::1]:8321/api/goldens", TOKEN)
    open_remote("https://[2001:db8::1]/api/goldens", TOKEN)
    open_remote("http://host:8321/api/goldens")  # there is nothing to overhear


def test_links_that_lead_elsewhere_are_not_followed(here: GoldenStore, there: GoldenStore, server: Server) -> None:
    elsewhere = (
        '"/../../etc/"',
        "'https://elsewhere.example/toy/'",
        '"..%2F..%2Fx/"',
        '"objects/"',
        '"a b/"',
        '"?C=N"',
    )
    server.files[""] += "".join(f"<a href={link}>x</a>" for link in elsewhere).encode()
    server.files["toy/"] += b'<a href="../../x.json">x</a><a href=".y.json">y</a>'
    with pytest.raises(GoldenError, match="remote has no such file"):
        pull(there, server.open())  # the last part of a link is a name, and nothing else of it is used
    assert {path for path, *_ in server.asked} <= {
        "/goldens/", "/goldens/toy/", "/goldens/etc/", "/goldens/x/", "/goldens/toy/x.json",
        "/goldens/toy/toy-2.plain.json", "/goldens/toy/toy-2.long.json",
    }  # fmt: skip
    assert files(there.root) == {}


def test_nothing_is_pushed_to_a_server(here: GoldenStore, server: Server) -> None:
    fill(here, 5.0, "new")
    with pytest.raises(UsageError, match="this remote is only read"):
        push(here, server.open())


def test_a_server_that_is_not_there_says_so(there: GoldenStore) -> None:
    with serving() as gone:
        url = gone.url
    with pytest.raises(InfrastructureError, match="remote cannot be read") as caught:
        pull(there, open_remote(url))
    assert "ClientConnectorError" in caught.value.got


# What a stranger may be shown


def test_served_are_the_files_of_goldens_and_nothing_else(here: GoldenStore) -> None:
    (here.root / "budgets.toml").write_text("x")
    (here.root / "baselines").mkdir()
    (here.root / "baselines" / "cpu.json").write_text("x")
    found = {path for path in files(here.root) if served_file(here, path) == here.root / path}
    assert found == set(files(here.root)) - {"budgets.toml", "baselines/cpu.json"}
    assert {path.partition("/")[0] for path in found} == {"toy", "objects"}


ATTACKS = [
    "", "/", ".", "..", "toy", "toy/", "budgets.toml", "../here/toy/toy-2.plain.json", "toy/../toy/toy-2.plain.json",
    "/toy/toy-2.plain.json", "toy//toy-2.plain.json", "./toy/toy-2.plain.json", "toy/..%2ftoy/toy-2.plain.json",
    "toy\\toy-2.plain.json", "toy/toy-2.plain.json\n", "toy/toy-2.plain.json\0", "toy/toy-2.plain.json/", "TOY/x.json",
    "toy/../secret.json", "../secret.json", "baselines/cpu.json", "objects/x.json", ".lock", "toy/.json",
    "objects/ab/cd.safetensors", "objects/../secret.json", f"objects/ab/{'cd' * 32}.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("path", ATTACKS)
def test_a_path_that_is_no_golden_or_object_is_not_served(here: GoldenStore, path: str) -> None:
    (here.root.parent / "secret.json").write_text("{}")
    (here.root / "baselines").mkdir()
    (here.root / "baselines" / "cpu.json").write_text("x")
    assert served_file(here, path) is None


def test_an_object_has_one_path(here: GoldenStore) -> None:
    path = object_path(here.objects.names()[0])
    assert served_file(here, path)
    _, folder, name = path.split("/")
    other = "00" if folder != "00" else "01"
    for wrong in (f"objects/{other}/{name}", f"objects/{folder}/{name.upper()}", f"objects/{folder}/{name}.tmp"):
        assert served_file(here, wrong) is None


def test_a_page_is_of_a_folder_that_is_there(here: GoldenStore) -> None:
    assert '<a href="toy/">toy/</a>' in (page_of(here, "") or "")
    assert '<a href="toy-2.long.json">' in (page_of(here, "toy") or "")
    for folder in ("objects", "..", "toy/", "none", "<script>"):
        assert page_of(here, folder) is None
    (here.root / "<b>").mkdir()
    (here.root / "<b>" / "x.json").write_text("{}")
    (here.root / "toy" / "<i>.json").write_text("{}")
    assert "<b>" not in (page_of(here, "") or "")
    assert "<i>" not in (page_of(here, "toy") or "")


# What a URL may be


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("ftp://host/goldens", "remote of an unknown protocol"),
        ("reference://x", "remote of an unknown protocol"),
        ("S3://x", "remote of an unknown protocol"),
        ("s3://", "not the URL of a remote"),
        ("s3:///folder", "not the URL of a remote"),
        ("https://user:pass@host/goldens", "not the URL of a remote"),
        ("https://host/goldens?token=x", "not the URL of a remote"),
        ("memory://x::file:///etc", "not the URL of a remote"),
        ("http://[::1]:8321/x::file:///etc", "not the URL of a remote"),
        ("http://[::1::file:///etc]", "not the URL of a remote"),
        ("http://[::1]x/goldens", "not the URL of a remote"),
        ("http://[::1", "not the URL of a remote"),
        ("s3://[::1]/goldens", "not the URL of a remote"),
        ("file://", "not the URL of a remote"),
    ],
)
def test_what_is_no_remote_is_refused(url: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        open_remote(url)
    assert "pass" not in str(caught.value).replace("a password", "")


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("s3://bucket/x", "s3fs", "s3"), ("gs://bucket/x", "gcsfs", "gs"), ("https://host/x", "aiohttp", "http")],
)
def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str
) -> None:
    known = sys.modules["fsspec.registry"]._registry  # classes that were imported before
    for protocol in PROTOCOLS:
        monkeypatch.delitem(known, protocol, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match="needs an extra that is not installed") as caught:
        open_remote(url)
    assert caught.value.try_ == f"pip install 'paritygate[{extra}]'"


def test_a_folder_is_a_remote_by_its_path(tmp_path: Path, here: GoldenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    push(here, open_remote("between/"))
    assert files(tmp_path / "between") == files(here.root)
    assert not list((tmp_path / "between").rglob("*.tmp"))
    assert open_remote("between").suites() == ["toy"]
    assert open_remote(f"file://{tmp_path}/between").cases("toy") == ["toy-2.long", "toy-2.plain"]


@pytest.mark.parametrize("name", ["", "..", ".x", "a/b", "a\\b", "a b", "ä", "a\n", "x" * 201, "objects", "baselines"])
def test_a_suite_that_could_lead_elsewhere_is_no_path(name: str) -> None:
    with pytest.raises(GoldenError, match="name that no golden of a remote can have"):
        golden_path(name, "toy-2.plain")


# What errors say


@dataclass
class Status(Exception):
    """What a library raises that keeps the answer's number."""

    status: int

    def __str__(self) -> str:
        return f"answered {self.status}"


class NoCredentialsError(Exception):
    """What botocore raises where it finds no keys."""


ERRORS = [
    (PermissionError("denied"), InfrastructureError, "remote refuses access", 1),
    (NoCredentialsError("Unable to locate credentials"), InfrastructureError, "remote refuses access", 1),
    (OSError("Forbidden: bucket"), InfrastructureError, "remote refuses access", 1),
    (Status(403), InfrastructureError, "remote refuses access", 1),
    (Status(418), InfrastructureError, "remote cannot be read", 1),
    (Status(503), InfrastructureError, "remote cannot be read", 5),
    (Status(429), InfrastructureError, "remote cannot be read", 5),
    (TimeoutError(), InfrastructureError, "remote cannot be read", 5),
    (ValueError("broken"), InfrastructureError, "remote cannot be read", 1),
]


@pytest.mark.parametrize(("reason", "kind", "what", "tries"), ERRORS, ids=lambda value: str(value)[:30])
def test_an_error_says_what_it_means_and_only_what_may_pass_is_tried_again(
    there: GoldenStore,
    remote: Remote,
    memory: Memory,
    reason: Exception,
    kind: type[HarnessError],
    what: str,
    tries: int,
) -> None:
    memory.told = [reason] * 99
    with pytest.raises(kind, match=what) as caught:
        pull(there, remote)
    assert len(memory.done) == tries
    assert caught.value.try_
    assert caught.value.__cause__ is None


def test_a_bucket_that_is_not_there_is_said_by_a_push(here: GoldenStore, remote: Remote, memory: Memory) -> None:
    def none(path: str, mode: str = "rb", **options: object) -> None:
        raise FileNotFoundError("The specified bucket does not exist")

    memory._open = none  # type: ignore[method-assign]
    with pytest.raises(InfrastructureError, match="remote has no such bucket or folder") as caught:
        push(here, remote)
    assert (caught.value.got, caught.value.try_) == ("The specified bucket does not exist", "create it first")


def test_a_folder_nobody_may_write_to_is_said(tmp_path: Path, here: GoldenStore) -> None:
    (tmp_path / "between").write_text("a file")
    with pytest.raises(HarnessError, match="remote") as caught:
        push(here, open_remote(f"{tmp_path}/between/goldens"))
    assert caught.value.exit_code == 4
