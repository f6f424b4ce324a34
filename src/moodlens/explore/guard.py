"""What stands before the explorer's answers: who may ask, how much, and what a browser may do with the answer.

A page of another site can make a browser send requests to this machine, and a name that points here can make it read the
answers (DNS rebinding). So hosts are names that were allowed, requests of other origins are refused, and what is sent
must be JSON, which a form cannot send.
"""

import json
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
BODY = 262_144
"""Bytes of a request."""
NOTES_BODY = 8_388_608
"""Bytes of a file of notes."""
AT_ONCE = 8
"""Requests that compute; more are turned away. Clips are not made in a request: they have a queue of their own."""
_COMPUTE = ("/api/text", "/api/steer", "/api/feature/", "/api/blind", "/api/compare")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
    "cache-control": "no-store",
}


class Refused(Exception):
    """A request that is not answered: status and one line."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


class Guard:
    """Stands before an application.

    Args:
        app: what answers.
        policy: Content-Security-Policy of every answer.
        hosts: names that the server may be called by, besides those of this machine.
    """

    def __init__(self, app: App, policy: str, hosts: Iterable[str] = ()):
        self._app = app
        self._hosts = LOOPBACK | {host.lower().strip("[]") for host in hosts}
        headers = {**_HEADERS, "content-security-policy": policy}
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._lock, self._at_work = threading.Lock(), 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets here
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in self._headers}
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in names]
                message["headers"] = [*kept, *self._headers]
            await send(message)

        compute = str(scope["path"]).startswith(_COMPUTE)
        try:
            self._check(scope)
            if compute:
                self._enter()
        except Refused as refused:
            await _say(told, refused)
            return
        try:
            await self._app(scope, await _whole(scope, receive), told)
        except Refused as refused:
            await _say(told, refused)
        finally:
            if compute:
                self._leave()

    def _enter(self) -> None:
        with self._lock:
            if self._at_work >= AT_ONCE:
                raise Refused(429, f"{AT_ONCE} requests are being worked on; ask again in a moment")
            self._at_work += 1

    def _leave(self) -> None:
        with self._lock:
            self._at_work -= 1

    def _check(self, scope: Message) -> None:
        headers = _headers(scope)
        host = headers.get("host", "")
        if _hostname(f"http://{host}") not in self._hosts:
            raise Refused(403, "this name is not one that the explorer answers to; see --allow-host")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused(403, "requests of other pages are refused")
        site = headers.get("sec-fetch-site", "none")
        navigates = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        if site not in ("none", "same-origin") and not navigates:
            raise Refused(403, "requests of other pages are refused")
        if scope["method"] == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise Refused(415, "send JSON, as application/json")
        elif scope["method"] not in ("GET", "HEAD"):
            raise Refused(405, "only GET and POST are answered")


def _headers(scope: Message) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _hostname(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


async def _whole(scope: Message, receive: Receive) -> Receive:
    """The body, if it is not too large, as one message."""
    most = NOTES_BODY if scope["path"] == "/api/notes/import" else BODY
    if scope["method"] != "POST":
        return receive
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        if len(body) > most:
            raise Refused(413, f"more than {most:,} bytes")
        if not message.get("more_body", False):
            break
    sent = False

    async def once() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return once


async def _say(send: Send, refused: Refused) -> None:
    body = json.dumps({"error": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
