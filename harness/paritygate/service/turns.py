"""Requests one after another: Python runs one thread at a time, and threads that fight for it take twice as long.

A request has the turn until it is answered, or waits for its client, and for no longer than `TURN_S`: one that takes
long, or waits for the database, goes on beside those that come after it.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

TURN_S = 0.02  # several times what a read takes


class Turns:
    """The application with its requests in turn."""

    def __init__(self, app: ASGIApp):
        self.app, self._turn = app, asyncio.Semaphore()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await self._turn.acquire()
        held = True

        def give() -> None:
            nonlocal held
            if held:
                held = False
                self._turn.release()

        async def read() -> Message:
            give()
            return await receive()

        async def say(message: Message) -> None:
            if message.get("more_body", False):
                give()
            await send(message)

        late = asyncio.get_running_loop().call_later(TURN_S, give)
        try:
            await self.app(scope, read, say)
        finally:
            late.cancel()
            give()
