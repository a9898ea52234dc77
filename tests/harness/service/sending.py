"""An upload by hand, request by request: what a client does, and what it should not."""

import gzip
import hashlib
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from paritygate.core.run_files import files_of


def manifest(folder: Path, **more: Any) -> dict[str, Any]:
    """What the client asks first, of a run folder."""
    files = []
    for name in files_of(folder):
        content = (folder / name).read_bytes()
        files.append({"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    return {"run": folder.name, "files": files, "branch": "main", "commit": "c0ffee", **more}


class Sender:
    """One caller's uploads into one project."""

    def __init__(self, client: TestClient, headers: dict[str, str], project: str = "llama"):
        self.client, self.headers, self.at = client, headers, f"/api/projects/{project}/uploads"

    def begin(self, asked: dict[str, Any]) -> Any:
        return self.client.post(self.at, json=asked, headers=self.headers)

    def put(self, id: str, name: str, content: bytes, offset: int = 0, packed: str = "") -> Any:
        headers = {**self.headers, "Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
        if packed == "gzip":
            headers["Content-Encoding"], content = "gzip", gzip.compress(content)
        return self.client.put(f"{self.at}/{id}/files/{name}", content=content, headers=headers)

    def have(self, id: str) -> dict[str, int]:
        answer = self.client.get(f"{self.at}/{id}", headers=self.headers)
        return {each["name"]: each["have"] for each in answer.json()["files"]}

    def finish(self, id: str) -> Any:
        return self.client.post(f"{self.at}/{id}/finish", headers=self.headers)

    def send(self, folder: Path) -> Any:
        """All of it, as the client would."""
        asked = manifest(folder)
        state = self.begin(asked).json()
        if state["there"]:
            return state["there"]
        for each in asked["files"]:
            name = each["name"]
            assert self.put(state["upload"], name, (folder / name).read_bytes(), packed="gzip").status_code == 200
        answer = self.finish(state["upload"])
        assert answer.status_code == 200, answer.text
        return answer.json()
