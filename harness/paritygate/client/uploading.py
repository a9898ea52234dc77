"""A run folder to a service: hashed first, then each file from where it is on, as often as the connection breaks."""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paritygate.client.transport import ConnectionLost, ServerRefused, Transport, path_of
from paritygate.core.errors import UsageError
from paritygate.core.run import Run
from paritygate.core.run_files import files_of

Tell = Callable[[str], None]
_PIECE = 1 << 18
_TRIES = 5  # behind each other that bring nothing new
# What the service says where the manifest, asked again, says how to go on.
_GOES_ON = (
    "no such upload", "file is being sent", "file is not as far as that", "file is not whole",
    "file is not what was promised",
)  # fmt: skip
_PACKED = (".jsonl", ".json", ".html")


def upload_run(
    transport: Transport,
    project: str,
    folder: Path,
    about: Mapping[str, str],
    tell: Tell = lambda line: None,
) -> Any:
    """The run as the service then has it; one that is there with equal content is left. Raises where it has other."""
    run = Run.open(folder)
    if not run.is_judged:
        raise UsageError("run is not judged", where=folder.name, try_=f"paritygate judge {folder.name}")
    files = [{"name": name, **_hashed(folder / name)} for name in files_of(folder)]
    manifest = {"run": run.info.id, "files": files, **about}
    tries, known = 0, -1
    while True:
        try:
            state = transport.post(path_of("projects", project, "uploads"), manifest, "again")
            have = sum(each["have"] for each in state["files"])
            if have > known:
                tries, known = 0, have
            if state["there"] is not None:
                return state["there"]
            _send(transport, project, folder, files, state, tell)
            return transport.post(path_of("projects", project, "uploads", state["upload"], "finish"), {})
        except (ConnectionLost, ServerRefused) as reason:
            tries += 1
            # Who never answered is away, or another: only a connection that was there is worth the waiting.
            is_over = reason.what not in _GOES_ON if isinstance(reason, ServerRefused) else known < 0
            if is_over or tries > _TRIES:
                raise
            pause_s = min(2.0**tries, 30.0)
            tell(f"{reason.what}; goes on in {pause_s:.0f} s")
        transport.pause(pause_s)


def _send(
    transport: Transport,
    project: str,
    folder: Path,
    files: list[dict[str, Any]],
    state: Any,
    tell: Callable[[str], None],
) -> None:
    have = {each["name"]: each["have"] for each in state["files"]}
    for each in files:
        name, size, offset = each["name"], each["size"], have.get(each["name"], 0)
        if offset >= size:
            continue
        tell(f"{name}  {size:,} bytes" + (f", from {offset:,} on" if offset else ""))
        packs = name.endswith(_PACKED)
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
        content = _pieces(folder / name, offset, size)
        if packs:
            headers["Content-Encoding"], content = "gzip", _packed(content)
        transport.put(path_of("projects", project, "uploads", state["upload"], "files", name), content, headers)


def _hashed(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return {"size": file.tell(), "sha256": sha256}


def _pieces(path: Path, offset: int, size: int) -> Iterator[bytes]:
    """As many bytes as were hashed: a file that grows meanwhile is another one."""
    with path.open("rb") as file:
        file.seek(offset)
        left = size - offset
        while left and (piece := file.read(min(_PIECE, left))):
            left -= len(piece)
            yield piece


def _packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(6, wbits=31)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
