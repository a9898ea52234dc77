"""Requests one after another: who has the turn, and when it is given on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from paritygate.service import turns
from paritygate.service.turns import Turns

HTTP: dict[str, Any] = {"type": "http"}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
Answers = Callable[[Receive, Send], Awaitable[None]]


async def asked_twice(first: Answers) -> list[str]:
    """What happened where a request is answered so, and another is asked meanwhile; the first may not end before."""
    happened: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        happened.append(f"{scope['path']} begins")
        if scope["path"] == "first":
            try:
                await first(receive, send)
            finally:
                happened.append("first ends")

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def taken(message: Message) -> None:
        await asyncio.sleep(0)

    served = Turns(app)
    both = [asyncio.create_task(served(HTTP | {"path": path}, nothing, taken)) for path in ("first", "second")]
    await asyncio.wait_for(asyncio.gather(*both, return_exceptions=True), 60)
    return happened


async def long(*given: Any) -> None:
    for _ in range(50):
        await asyncio.sleep(0)


IN_TURN = ["first begins", "first ends", "second begins"]
BESIDE = ["first begins", "second begins", "first ends"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn ends by the clock."""
    monkeypatch.setattr(turns, "TURN_S", 3600.0)


def test_a_request_is_answered_before_the_next_begins() -> None:
    async def answers(receive: Receive, send: Send) -> None:
        await send(START)
        await long()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    assert asyncio.run(asked_twice(answers)) == IN_TURN


def test_one_that_fails_gives_the_turn_on() -> None:
    async def fails(receive: Receive, send: Send) -> None:
        raise RuntimeError

    assert asyncio.run(asked_twice(fails)) == IN_TURN


def test_one_that_waits_for_its_client_has_no_turn() -> None:
    async def reads(receive: Receive, send: Send) -> None:
        await receive()
        await long()

    assert asyncio.run(asked_twice(reads)) == BESIDE


def test_one_that_is_answered_piece_by_piece_has_none_behind_the_first() -> None:
    async def streams(receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await long()

    assert asyncio.run(asked_twice(streams)) == BESIDE


def test_one_that_takes_long_goes_on_beside_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0.0)

    async def waits(receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)  # as if for the database

    assert asyncio.run(asked_twice(waits)) == BESIDE


def test_one_whose_client_went_away_while_it_waited_takes_no_turn() -> None:
    async def story() -> list[str]:
        happened: list[str] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            happened.append(scope["path"])
            await long()

        async def never(*given: Any) -> Any:
            raise AssertionError

        served = Turns(app)
        tasks = [asyncio.create_task(served(HTTP | {"path": path}, never, never)) for path in ("a", "b", "c")]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        return happened

    assert asyncio.run(story()) == ["a", "c"]
