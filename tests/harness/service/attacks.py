"""The attacks that are tried on a service: what is tried, how, and what it gets. docs/operations.md shows the table."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.service.sending import Sender, manifest
from harness.service.world import Got, World
from paritygate.service import tokens

ELSEWHERE = {"Origin": "https://evil.example"}
MARKUP = "<script>alert(1)</script>"


@dataclass(frozen=True)
class Attack:
    """`do` tries it; `gets` is what it must get."""

    kind: str
    what: str
    gets: Got
    do: Callable[[World], Got]

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def got(answer: Any) -> Got:
    """Of an answer that refuses the sentence that it says; of any other nothing."""
    try:
        return Got(answer.status_code, answer.json()["error"]["what"])
    except (ValueError, KeyError, TypeError):
        return Got(answer.status_code, "")


def _raw(answer: str) -> Got:
    """The first answer over a socket, and how many there were."""
    lines = [line for line in answer.splitlines() if line.startswith("HTTP/1.1 ")]
    return Got(int(lines[0].split()[1]), f"{len(lines)} answer{'s' * (len(lines) != 1)}") if lines else Got(0, "closed")


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[World], Got]:
    def do(world: World) -> Got:
        asked = manifest(world.folder)
        change(asked)
        return got(world.sender().begin(asked))

    return do


def _file(**changes: Any) -> Callable[[World], Got]:
    return _manifest(lambda asked: asked["files"][0].update(changes))


def _run(name: str) -> Callable[[World], Got]:
    return _manifest(lambda asked: asked.update(run=name))


def _part(name: str) -> Callable[[World], Got]:
    def do(world: World) -> Got:
        sender, id = world.begun()
        return got(sender.put(id, name, b"x"))

    return do


def _put(content: bytes, **headers: str) -> Callable[[World], Got]:
    def do(world: World) -> Got:
        sender, id = world.begun()
        said = {
            **sender.headers,
            "Upload-Offset": "0",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        return got(world.client.put(f"{sender.at}/{id}/files/run.json", content=content, headers=said))

    return do


def _get(path: str, *scopes: tokens.Scope, **more: Any) -> Callable[[World], Got]:
    return lambda world: got(world.client.get(path, headers=world.headers(*(scopes or ("admin",)), **more)))


def _as(header: Callable[[World], str]) -> Callable[[World], Got]:
    return lambda world: got(world.client.get("/api/audit", headers={"Authorization": header(world)}))


def _form(path: str, token: str = "right", **headers: str) -> Callable[[World], Got]:
    def do(world: World) -> Got:
        cookie = world.logged_in(world.token("admin"))
        form = {"form_token": world.form_token(cookie) if token == "right" else token}
        said = {**cookie, **{name.replace("_", "-"): text for name, text in headers.items()}}
        return Got(world.client.post(path, data=form, headers=said, follow_redirects=False).status_code, "")

    return do


def _symlink(world: World) -> Got:
    sender, id = world.begun()
    outside, names = world.data.parent / "outside", [each["name"] for each in manifest(world.folder)["files"]]
    outside.write_text("not ours")
    part = world.data / "uploads" / id / f"{names.index('run.json')}.part"
    part.unlink(missing_ok=True)
    part.symlink_to(outside)
    try:
        answer = got(sender.put(id, "run.json", b"x"))
    finally:
        part.unlink()
    assert outside.read_text() == "not ours"
    return answer


def _chunked(world: World) -> Got:
    """Two MiB that no Content-Length announces."""
    pieces = (b" " * 65_536 for _ in range(32))
    headers = {**world.headers("admin"), "Content-Type": "application/json"}
    return got(world.client.post("/api/tokens", content=pieces, headers=headers))


def _lying_length(world: World) -> Got:
    head = f"POST /api/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: {4 << 20}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    return _raw(world.raw(head.encode(), b" " * (2 << 20)))


def _markup_in_a_branch(world: World) -> Got:
    sender = Sender(world.client, world.headers("submit"), "other")
    asked = manifest(world.folder, branch=MARKUP)
    id = sender.begin(asked).json()["upload"]
    for each in asked["files"]:
        sender.put(id, each["name"], (world.folder / each["name"]).read_bytes())
    answer = sender.finish(id)
    assert (
        answer.headers["content-type"] == "application/json" and answer.headers["x-content-type-options"] == "nosniff"
    )
    return Got(answer.status_code, "text of JSON" if answer.json()["branch"] == MARKUP else "")


def _markup_in(path: str) -> Callable[[World], Got]:
    def do(world: World) -> Got:
        answer = world.client.get(path)
        return Got(answer.status_code, "escaped" if "<script>" not in answer.text else "ran")

    return do


def _session_of_the_api(world: World) -> Got:
    cookie = world.logged_in(world.token("admin"))
    return got(world.client.post("/api/tokens", json={"name": "x", "scopes": ["admin"]}, headers=cookie))


def _other_session(world: World) -> Got:
    mine, theirs = (world.logged_in(world.token("admin")) for _ in range(2))
    form = {"form_token": world.form_token(mine)}
    return Got(world.client.post("/logout", data=form, headers=theirs, follow_redirects=False).status_code, "")


def _revoked(world: World) -> Got:
    token = world.token("admin")
    tokens.revoke(world.app.state.service.engine, world.name_of(token), "tests")
    return got(world.client.get("/api/audit", headers={"Authorization": f"Bearer {token}"}))


def _revoked_session(world: World) -> Got:
    token = world.token("admin")
    cookie = world.logged_in(token)
    assert world.client.get("/api/audit", headers=cookie).status_code == 200
    tokens.revoke(world.app.state.service.engine, world.name_of(token), "tests")
    return got(world.client.get("/api/audit", headers=cookie))


def _expired(world: World) -> Got:
    headers = world.headers("admin", expires_s=1e-6)
    return got(world.client.get("/api/audit", headers=headers))


def _forged_cookie(world: World) -> Got:
    text = world.logged_in(world.token("admin"))["Cookie"]
    place = text.index("=") + 8  # of the last letter some bits say nothing
    other = "A" if text[place] != "A" else "B"
    return got(world.client.get("/api/audit", headers={"Cookie": text[:place] + other + text[place + 1 :]}))


def _in_the_query(world: World) -> Got:
    token = world.token("admin")
    return got(world.client.get("/api/audit", params={"token": token, "access_token": token}))


def _twice(world: World) -> Got:
    bearer = ("Authorization", f"Bearer {world.token('admin')}")
    return got(world.client.get("/api/audit", headers=[bearer, bearer]))


def _escalate(world: World) -> Got:
    headers = world.headers("admin", project="llama")
    return got(world.client.post("/api/tokens", json={"name": "x", "scopes": ["admin"]}, headers=headers))


def _location(following: str) -> Callable[[World], Got]:
    def do(world: World) -> Got:
        form = {"token": world.token("read"), "form_token": world.form_token({}), "next": following}
        answer = world.client.post("/login", data=form, follow_redirects=False)
        world.client.cookies.clear()
        return Got(answer.status_code, f"to {answer.headers['location']}")

    return do


def _http(*head: str, body: str = "") -> Callable[[World], Got]:
    text = "\r\n".join([*head, "", body]).encode("latin-1")
    return lambda world: _raw(world.raw(text))


def _slow(world: World) -> Got:
    head = (
        b"POST /api/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nContent-Type: application/json\r\n\r\n"
    )
    return _raw(world.raw(head, b"{", pause_s=0.1))


def _sql(world: World) -> Got:
    """Quotes in every parameter of every route, of the path and of the query: no answer is a failure of the service."""
    headers, worst = world.headers("admin"), 0
    for text in ("' OR '1'='1", '"; DROP TABLE run; --', "%27; SELECT pg_sleep(9) --", "\\'); --"):
        for path, methods in world.app.openapi()["paths"].items():
            if "get" not in methods or "events" in path:
                continue
            given = methods["get"].get("parameters", [])
            query = {each["name"]: text for each in given if each["in"] == "query"}
            for each in given:
                if each["in"] == "path":
                    path = path.replace("{" + each["name"] + "}", text.replace("/", ""))
            answers = [world.client.get(path, params=query, headers=headers, follow_redirects=False)]
            answers += [world.client.get(path, params={name: text}, headers=headers) for name in query]
            worst = max(worst, *(answer.status_code for answer in answers))
    assert world.client.get("/readyz").status_code == 200
    return Got(worst, "at most")


SECOND = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
FITS = "request does not fit"
BAD = "token is not, or no longer, good"
GONE = "no such upload"
NO_FILE = "no such file in the manifest"
NO_ARCHIVE = "bytes of one file, and no archive or form"
BODY = "more than the 1,048,576 bytes that this takes"
JSON_HEAD = ("POST /api/tokens HTTP/1.1", "Host: localhost", "Content-Type: application/json")
ATTACKS = (
    Attack("path", "a run named `../../x`", Got(422, FITS), _run("../../x")),
    Attack("path", "a run named `/etc/cron.d/x`", Got(422, FITS), _run("/etc/cron.d/x")),
    Attack("path", "a run named `..`", Got(422, FITS), _run("..")),
    Attack("path", "a run with a NUL in its name", Got(422, FITS), _run("a\x00b")),
    Attack("path", "a run named `C:\\x`", Got(422, FITS), _run("C:\\x")),
    Attack("path", "a run named `latest`", Got(422, "no name for a run"), _run("latest")),
    Attack("path", "a file named `../run.json` in the manifest", Got(422, FITS), _file(name="../run.json")),
    Attack("path", "a file named `/etc/passwd` in the manifest", Got(422, FITS), _file(name="/etc/passwd")),
    Attack("path", "a file named `run.json\\0.html` in the manifest", Got(422, FITS), _file(name="run.json\x00.html")),
    Attack("path", "a file `upload.json`, which is the service's own", Got(422, FITS), _file(name="upload.json")),
    Attack("path", "bytes for `..%2f..%2fservice.db`", Got(404, "Not Found"), _part("..%2f..%2fservice.db")),
    Attack("path", "bytes for `..%5c..%5cservice.db`", Got(404, NO_FILE), _part("..%5c..%5cservice.db")),
    Attack("path", "bytes for `run.json%00`", Got(404, NO_FILE), _part("run.json%00")),
    Attack("path", "an upload named `%2e%2e`", Got(404, GONE), _get("/api/projects/llama/uploads/%2e%2e")),
    Attack("path", "a symbolic link in the service's folder", Got(409, "part is no file"), _symlink),
    Attack("archive", "a zip in the place of a file", Got(415, NO_ARCHIVE),
           _put(b"PK\x03\x04", Content_Type="application/zip")),
    Attack("archive", "a tar in the place of a file", Got(415, NO_ARCHIVE),
           _put(b"./x", Content_Type="application/x-tar")),
    Attack("archive", "a form with a file in it", Got(415, NO_ARCHIVE),
           _put(b"--x", Content_Type="multipart/form-data; boundary=x")),
    Attack("archive", "a gzip bomb: 64 MiB of zeros for a file of some kB", Got(413, "more than was promised"),
           _put(gzip.compress(bytes(64 << 20)), Content_Encoding="gzip")),
    Attack("archive", "gzip in gzip", Got(422, FITS), _put(b"x", Content_Encoding="gzip, gzip")),
    Attack("archive", "bytes behind the end of a gzip", Got(422, "bytes behind the end of what is packed"),
           _put(gzip.compress(b"{}") + b"x", Content_Encoding="gzip")),
    Attack("size", "a JSON body of 2 MiB in pieces, without a length", Got(413, BODY), _chunked),
    Attack("size", "a JSON body of 2 MiB, 4 announced", Got(413, "1 answer"), _lying_length),
    Attack("size", "a file of a TiB in the manifest", Got(413, "file is too large"), _file(size=1 << 40)),
    Attack("size", "a file of 2^70 bytes in the manifest", Got(422, FITS), _file(size=1 << 70)),
    Attack("size", "a hole: bytes from behind the end on", Got(409, "file is not as far as that"),
           _put(b"x", Upload_Offset="4096")),
    Attack("size", "three hundred files in the manifest", Got(422, FITS),
           _manifest(lambda asked: asked.update(files=asked["files"] * 50))),
    Attack("size", "a page of a million lines", Got(422, FITS), _get("/api/audit?limit=1000000")),
    Attack("size", "a parameter of 10,000 characters", Got(422, FITS), _get("/api/audit?who=" + "x" * 10_000)),
    Attack("size", "a cursor beyond 64 bits", Got(422, FITS), _get("/api/audit?after=" + "9" * 30)),
    Attack("slow", "a body that stops coming", Got(408, "1 answer"), _slow),
    Attack("XSS", "a branch that is markup", Got(200, "text of JSON"), _markup_in_a_branch),
    Attack("XSS", "markup in the path of a page that is not there", Got(404, "escaped"), _markup_in(f"/{MARKUP}")),
    Attack("XSS", "markup in where a login leads", Got(200, "escaped"), _markup_in(f'/login?next=/"{MARKUP}')),
    Attack("CSRF", "a form without its token", Got(403, ""), _form("/logout", "")),
    Attack("CSRF", "a form with the token of another session", Got(403, ""), _other_session),
    Attack("CSRF", "a form that another site's page sends", Got(403, ""), _form("/logout", Origin="https://evil.example")),
    Attack("CSRF", "the same, as newer browsers say it", Got(403, ""), _form("/logout", Sec_Fetch_Site="cross-site")),
    Attack("CSRF", "a change by the API with a browser's session", Got(401, "a token is needed"), _session_of_the_api),
    Attack("CSRF", "the same from a page, of whoever is on this machine", Got(403, "1 answer"),
           _http(*JSON_HEAD, "Origin: https://evil.example", "Content-Length: 2", body="{}")),
    Attack("CSRF", "a name elsewhere that leads here (DNS rebinding)", Got(421, "1 answer"),
           _http("GET /api/audit HTTP/1.1", "Host: evil.example")),
    Attack("token", "no token", Got(401, "a token is needed"), lambda world: got(world.client.get("/api/audit"))),
    Attack("token", "a guess", Got(401, BAD), _as(lambda world: "Bearer pgt_" + "A" * 43)),
    Attack("token", "one without its last character", Got(401, BAD), _as(lambda world: f"Bearer {world.token()[:-1]}")),
    Attack("token", "its hash, as the database has it", Got(401, BAD),
           _as(lambda world: f"Bearer {tokens.digest(world.token())}")),
    Attack("token", "one that was revoked", Got(401, BAD), _revoked),
    Attack("token", "the browser of one that was revoked", Got(401, "a token is needed"), _revoked_session),
    Attack("token", "one that expired", Got(401, BAD), _expired),
    Attack("token", "in the query of the URL", Got(401, "a token is needed"), _in_the_query),
    Attack("token", "as a password", Got(401, BAD), _as(lambda world: f"Basic {world.token()}")),
    Attack("token", "two at once", Got(401, BAD), _twice),
    Attack("token", "a cookie that was changed", Got(401, "a token is needed"), _forged_cookie),
    Attack("token", "`submit` with the scope `read`", Got(403, "not allowed"),
           lambda world: got(Sender(world.client, world.headers("read")).begin(manifest(world.folder)))),
    Attack("token", "an upload into another project", Got(404, "no such project"),
           lambda world: got(world.sender(project="other").begin(manifest(world.folder)))),
    Attack("token", "an admin of a project makes one of all", Got(403, "token of another project"), _escalate),
    Attack("token", "from this machine, by a proxy", Got(401, "1 answer"),
           _http("GET /api/audit HTTP/1.1", "Host: localhost", "X-Forwarded-For: 127.0.0.1")),
    Attack("SQL", "quotes in every parameter of every route", Got(422, "at most"), _sql),
    Attack("redirect", "a login that leads to `//evil.example`", Got(303, "to /"), _location("//evil.example")),
    Attack("redirect", "a login that leads to `/\\evil.example`", Got(303, "to /"), _location("/\\evil.example")),
    Attack("redirect", "a login that leads to `https://evil.example`", Got(303, "to /"), _location("https://evil.example")),
    Attack("headers", "a line break in where a login leads", Got(303, "to /"), _location("/\r\nSet-Cookie: x=y")),
    Attack("headers", "a line break in a header", Got(400, "1 answer"),
           _http("GET /healthz HTTP/1.1", "Host: localhost", "X: a\nEvil : b")),
    Attack("smuggling", "two lengths", Got(400, "1 answer"),
           _http(*JSON_HEAD, "Content-Length: 2", "Content-Length: 9", body="{}")),
    Attack("smuggling", "a length and chunks", Got(401, "1 answer"),
           _http(*JSON_HEAD, "Via: x", "Content-Length: 9", "Transfer-Encoding: chunked", body=f"0\r\n\r\n{SECOND}")),
    Attack("smuggling", "chunks by another name", Got(400, "1 answer"),
           _http(*JSON_HEAD, "Transfer-Encoding: xchunked", body="0\r\n\r\n")),
    Attack("smuggling", "two hosts", Got(400, "1 answer"),
           _http("GET /healthz HTTP/1.1", "Host: localhost", "Host: evil.example")),
)  # fmt: skip


def table() -> str:
    """As the documentation has it."""
    lines = ["| | tried | gets |", "|---|---|---|"]
    for each in ATTACKS:
        said = f"{each.gets.status}{': ' if each.gets.what else ''}{each.gets.what}"
        lines.append(f"| {each.kind} | {each.what} | {said} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
