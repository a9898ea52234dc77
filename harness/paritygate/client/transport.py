"""Requests to a service: where to, as whom, how often again; every way to fail is an error that says what to do."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx2

from paritygate import __version__
from paritygate.core.errors import HarnessError, InfrastructureError, UsageError
from paritygate.core.trust import Trust, refuse_overheard

_AGAIN = (502, 503, 504)  # of a proxy, mostly, whose service starts again
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
_SILENT_S = 60.0  # for which a stream may say nothing at all; it says that it is there four times as often


class ServerRefused(UsageError):
    """The service answered, and refused. `status` is HTTP's."""

    def __init__(self, status: int, what: str, **words: str):
        self.status = status
        super().__init__(what, **words)


class Transport:
    """One service, and one token. `pause` sleeps; `transport` is httpx's, for tests."""

    def __init__(
        self,
        url: str,
        token: str = "",
        trust: Trust = "https",
        timeout_s: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ):
        self.pause, self._client = pause, open_client(url, token, trust, timeout_s, transport)
        self.url = str(self._client.base_url).rstrip("/")

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._json(lambda: self._client.get(path, params=_said(params)), "again")

    def post(self, path: str, body: Any, again: Literal["again", "once"] = "once") -> Any:
        """`again` where asking twice is as asking once."""
        return self._json(lambda: self._client.post(path, json=body), again)

    def delete(self, path: str) -> Any:
        return self._json(lambda: self._client.delete(path), "once")

    def events(self, path: str, after: int = 0) -> Iterator[httpx2.ServerSentEvent]:
        """What a stream says, as it comes; asked again from the last that came on, until the service ends it.

        Raises ConnectionLost where it does not answer again and again.
        """
        pauses = list(_PAUSES_S)
        while True:
            try:
                with self._client.sse(path, headers={"Last-Event-ID": str(after)}, timeout=_SILENT_S) as stream:
                    if stream.response.status_code == 204:
                        return
                    if not stream.response.is_success:
                        stream.response.read()
                        if stream.response.status_code in _AGAIN and pauses:
                            self.pause(pauses.pop(0))
                            continue
                        raise self._refused(stream.response)
                    for each in stream:
                        pauses = list(_PAUSES_S)
                        if each.event == "end":
                            return
                        after = int(each.id) if each.id.isdecimal() else after
                        yield each
            except httpx2.RequestError as reason:
                if not pauses:
                    raise ConnectionLost(self.url, type(reason).__name__) from None
                self.pause(pauses.pop(0))

    def put(self, path: str, content: Iterator[bytes], headers: Mapping[str, str]) -> Any:
        """Once: what to go on with after a lost connection, only whoever sends it knows."""
        return self._json(lambda: self._client.put(path, content=content, headers=dict(headers)), "once")

    def _json(self, ask: Callable[[], httpx2.Response], again: Literal["again", "once"]) -> Any:
        answer = self._answer(ask, _PAUSES_S if again == "again" else ())
        if answer.is_success:
            try:
                if isinstance(said := answer.json(), dict | list):
                    return said
            except ValueError:
                pass
            raise self._no_service(answer)
        raise self._refused(answer)

    def _answer(self, ask: Callable[[], httpx2.Response], pauses: tuple[float, ...]) -> httpx2.Response:
        for pause_s in (*pauses, None):
            try:
                answer = ask()
                if answer.status_code not in _AGAIN or pause_s is None:
                    return answer
            except httpx2.RequestError as reason:
                if pause_s is None or isinstance(reason, httpx2.UnsupportedProtocol):
                    raise ConnectionLost(self.url, type(reason).__name__) from None
            self.pause(pause_s)
        raise AssertionError("the last pause is None")

    def _refused(self, answer: httpx2.Response) -> HarnessError:
        """As an error of ours; of an answer that is none of a paritygate service, that."""
        try:
            said = answer.json()["error"]
            words = {name: str(said[name]) for name in ("what", "where", "expected", "got", "try")}
        except (ValueError, KeyError, TypeError):
            return self._no_service(answer)
        status, what = answer.status_code, words.pop("what")
        words["try_"] = words.pop("try") or _TRY.get(status, "")
        if status >= 500:
            return InfrastructureError(f"the service failed: {what}", **{**words, "where": words["where"] or self.url})
        return ServerRefused(status, what, **words)

    def _no_service(self, answer: httpx2.Response) -> HarnessError:
        return UsageError(
            "no paritygate service answers there",
            where=self.url,
            got=f"HTTP {answer.status_code}, {answer.headers.get('content-type', 'nothing')}",
            try_="the address of a service: --server URL, or PARITYGATE_SERVER",
        )


def open_client(
    url: str, token: str, trust: Trust, timeout_s: float, transport: httpx2.BaseTransport | None = None
) -> httpx2.Client:
    """What sends requests to one service, with a token. Raises UsageError where that would be overheard."""
    checked, headers = _checked(url, token, trust), {"User-Agent": f"paritygate/{__version__}"}
    headers["Accept"] = "application/json"
    if token:
        headers["Authorization"] = f"Bearer {token}"
    # Redirects are not followed: none of ours answers with one, and a token is for this service only. Nor does the
    # environment say anything: a .netrc would put another name in the place of the token.
    return httpx2.Client(
        base_url=checked,
        headers=headers,
        timeout=timeout_s,
        transport=transport,
        follow_redirects=False,
        trust_env=False,
    )


_TRY = {
    401: "a token of this service in PARITYGATE_TOKEN; whoever runs it makes one: paritygate token create NAME",
    403: "a token with that scope, from whoever runs the service",
}


class ConnectionLost(InfrastructureError):
    """No answer: nobody is there, or the connection broke."""

    def __init__(self, url: str, how: str):
        super().__init__(
            "no service answers", where=url, got=how, try_="paritygate serve there; or another --server URL"
        )


def path_of(*parts: str) -> str:
    """A path of the API; a part that is hostile stays one part."""
    if any(part in ("", ".", "..") for part in parts):
        raise UsageError("a name is missing, or none", where="/".join(parts))
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


def _said(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value not in ("", None)}


def _checked(url: str, token: str, trust: Trust) -> str:
    """The URL, without a name and password that are in it. Raises UsageError where the token would be overheard."""
    try:
        parts = urlsplit(url)
        sound = parts.port is None or parts.port > 0
    except ValueError:  # brackets around no address, or a port that is none; it may have a password, too
        raise UsageError("no address of a service", expected="https://HOST, https://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or not sound:
        raise UsageError("no address of a service", where=parts.hostname or url, expected="https://HOST")
    if parts.username or parts.password:
        raise UsageError("address with a password", where=parts.hostname, try_="the token in PARITYGATE_TOKEN")
    if token and not re.fullmatch(r"[\x21-\x7e]{1,256}", token):
        raise UsageError("no token", where="PARITYGATE_TOKEN", expected="pgt_...", got="other characters, or too many")
    if token:
        refuse_overheard(parts.scheme, parts.hostname, trust)
    return url.rstrip("/")
