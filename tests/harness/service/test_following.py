"""What is sent of a run folder, in which order, and what the other side has at any moment."""

import json
from pathlib import Path

import pytest

from paritygate.client.following import Following
from paritygate.client.work import PIECE_BYTES, Differs
from paritygate.core.run import write_atomic


class Other:
    """The other side: files, and in which order they came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.parts: dict[str, bytes] = {}
        self.order: list[str] = []
        self.refuses = False

    def put(self, name: str, way: str, offset: int, size: int, content: bytes) -> None:
        if self.refuses:
            self.refuses = False
            raise Differs("piece does not join what is there", where=name)
        self.order.append(f"{way} {name}")
        if way == "add":
            assert len(self.files.get(name, b"")) == offset
            self.files[name] = self.files.get(name, b"") + content
            return
        part = self.parts.pop(name, b"") if offset else b""
        assert len(part) == offset
        self.parts[name] = part + content
        if len(self.parts[name]) == size:
            self.files[name] = self.parts.pop(name)


def drift(case: str) -> str:
    return json.dumps({"case": case, "cell": "bf16/single/cpu"}) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text(json.dumps({"values": 4, "problems": []}))
    (tmp_path / "drifts.jsonl").write_text(drift("a"))
    (tmp_path / "findings.jsonl").write_text("{}\n")
    (tmp_path / "secret.txt").write_text("stays here")
    return tmp_path


def test_drifts_go_last_and_a_run_that_goes_on_says_so(folder: Path) -> None:
    other = Other()
    following = Following(folder, other.put)
    following.send_so_far()
    assert [name.split()[1] for name in other.order] == ["run.json", "findings.jsonl", "drifts.jsonl"]
    assert json.loads(other.files["run.json"])["problems"] == ["the run did not finish"]
    assert following.progress() == {
        "phase": "replaying", "values": 1, "of": 4, "cell": "bf16/single/cpu", "case": "a"
    }  # fmt: skip
    other.order.clear()
    following.send_so_far()
    assert other.order == [], "nothing is new"
    with (folder / "drifts.jsonl").open("a") as file:
        file.write(drift("b") * 3)
    following.send_so_far()
    assert other.order == ["add drifts.jsonl"]
    assert (following.progress()["phase"], following.progress()["case"]) == ("judging", "b")

    (folder / "rows.jsonl").write_text("{}\n")
    sent = following.send_all()
    assert other.order[-1] == "replace run.json", "the word that it is whole comes last"
    assert other.files == {name: (folder / name).read_bytes() for name in sent}
    assert sorted(sent) == ["drifts.jsonl", "findings.jsonl", "rows.jsonl", "run.json"]


def test_a_file_that_was_made_again_and_what_was_lost_are_sent_whole(folder: Path) -> None:
    other = Other()
    following = Following(folder, other.put)
    following.send_so_far()
    write_atomic(folder / "drifts.jsonl", (drift("b") * 2).encode())  # as a resumed run begins
    following.send_so_far()
    assert other.files["drifts.jsonl"] == (drift("b") * 2).encode()
    assert following.progress()["values"] == 2

    with (folder / "drifts.jsonl").open("a") as file:
        file.write(drift("c"))
    other.refuses, other.files = True, {}
    with pytest.raises(Differs):
        following.send_so_far()
    following.send_so_far()
    assert other.files["drifts.jsonl"] == (folder / "drifts.jsonl").read_bytes()
    assert other.files["findings.jsonl"] == b"{}\n"
    assert following.progress()["values"] == 3


def test_a_large_file_goes_in_pieces_and_is_there_when_it_is_whole(folder: Path) -> None:
    (folder / "report.html").write_bytes(b"x" * (2 * PIECE_BYTES + 1))
    other = Other()
    Following(folder, other.put).send_all()
    assert other.order.count("replace report.html") == 3
    assert other.files["report.html"] == (folder / "report.html").read_bytes()
