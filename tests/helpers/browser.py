"""A real Chromium, driven through its DevTools protocol over a pipe: no driver, no port, no package."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--disable-extensions", "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip


def find_chromium() -> str | None:
    """Path of a browser: ``MOODLENS_CHROMIUM``, or the first that is installed."""
    return os.environ.get("MOODLENS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def chromium() -> str:
    """Path of a browser; without one the test is skipped."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium found: install it (apt-get install chromium) or set MOODLENS_CHROMIUM")
    return program


class Browser:
    """One page in a fresh profile; ``more`` are further flags."""

    def __init__(self, program: str, profile: Path, *more: str):
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The browser reads commands from descriptor 3 and writes to 4.
        ours = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (to_read, to_write)]
        nowhere = os.open(os.devnull, os.O_RDWR)
        places = zip((nowhere, nowhere, nowhere, *ours), range(5), strict=True)
        moves = [(os.POSIX_SPAWN_DUP2, fd, place) for fd, place in places]
        args = [program, *FLAGS, *more, f"--user-data-dir={profile}", "about:blank"]
        self._pid = os.posix_spawn(program, args, os.environ, file_actions=moves)
        for fd in (to_read, to_write, nowhere, *ours):
            os.close(fd)
        self._buffer, self._last, self.events = b"", 0, []
        pages = self.call("Target.getTargets", root=True)["targetInfos"]
        target = next(t["targetId"] for t in pages if t["type"] == "page")
        self._session = None
        self._session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True}, root=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            got = os.read(self._read, 1 << 16)
            if not got:
                raise RuntimeError("the browser has gone")
            self._buffer += got
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def call(
        self, method: str, params: dict[str, Any] | None = None, *, root: bool = False
    ) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params or {}}
        if not root:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self._last:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']}")
                return got["result"]
            self.events.append(got)

    def wait(self, method: str, **fits: Any) -> dict[str, Any]:
        """The first event of this name whose parameters fit, also among those that came already."""
        while True:
            for i, event in enumerate(self.events):
                if event.get("method") == method and fits.items() <= event["params"].items():
                    return self.events.pop(i)["params"]
            self.events.append(self._next())

    def open(self, url: str) -> None:
        self.events.clear()
        self.call("Page.navigate", {"url": url})
        self.wait("Page.loadEventFired")

    def js(self, expression: str) -> Any:
        """The value of an expression; a promise is waited for."""
        got = self.call(
            "Runtime.evaluate", {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": False}
        )  # fmt: skip
        if "exceptionDetails" in got:
            raise RuntimeError(got["exceptionDetails"])
        return got["result"].get("value")

    def key(self, name: str) -> None:
        """Press and release a key, as a person would."""
        codes = {"Enter": 13, "Backspace": 8, "ArrowLeft": 37, "ArrowRight": 39, "Tab": 9}
        code = codes.get(name, ord(name[0].upper()))
        event = {"key": name, "windowsVirtualKeyCode": code}
        text = {"text": "\r" if name == "Enter" else name} if name == "Enter" or len(name) == 1 else {}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **event, **text})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def type(self, text: str) -> None:
        self.call("Input.insertText", {"text": text})

    def close(self) -> None:
        self.call("Browser.close", root=True)
        os.waitpid(self._pid, 0)
        os.close(self._read)
        os.close(self._write)
