"""The explorer's page in a real browser that reaches nothing but this machine, watched for faults and requests."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.browser import Browser

ALONE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
WAIT = 30
"""Seconds until what should come has failed to come, on a machine with company."""
READY = "document.querySelector('main h1') && !document.querySelector('main [role=status]')?.innerText.startsWith('Reading')"


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of a server of an application, as `moodlens explore` runs it."""
    import uvicorn

    from moodlens.explore.server import listen

    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(30)


class Page:
    """One page; every fault and every request of its life is kept. ``more`` are flags of the browser."""

    def __init__(self, program: str, folder: Path, *more: str):
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        self._browser = Browser(program, folder / "profile", ALONE, *more)
        self._browser.call("Log.enable")
        self._browser.call(
            "Browser.setDownloadBehavior",
            {"behavior": "allow", "downloadPath": str(self.downloads), "eventsEnabled": True},
            root=True,
        )
        self._faults: list[str] = []
        self._requests: list[str] = []
        self.base = ""

    def go(self, address: str, ready: str = READY) -> None:
        """Open an address of the study from cold, as a link in a mail would, and wait until it is there."""
        self._collect()
        # From a page of its own, as an address that differs in its hash alone loads nothing.
        self._browser.open("about:blank")
        self._collect()
        self._browser.call("Page.navigate", {"url": self.base + address})
        self._browser.wait("Page.loadEventFired")
        self.until(ready)

    def js(self, expression: str) -> Any:
        return self._browser.js(expression)

    def until(self, condition: str) -> Any:
        """The value of an expression once it is truthy, looked at in every frame."""
        look = (
            f"new Promise((yes, no) => {{ const end = performance.now() + {WAIT * 1000}; const look = () => {{ const v = ({condition});"
            f" if (v) yes(v); else if (performance.now() > end) no(new Error({json.dumps(condition)} + ' did not come: ' + document.body.innerText.slice(0, 400)));"
            " else requestAnimationFrame(look); }; look(); })"
        )
        for _ in range(5):
            try:
                return self._browser.js(look)
            except RuntimeError as error:  # the page before this one has just gone
                if "navigated" not in str(error):
                    raise
        raise RuntimeError(f"{condition}: one page after the other")

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element that fits and, if asked, shows the text."""
        self.js(f"({_found(selector, text)}).click()")

    def write(self, selector: str, text: str) -> None:
        """Put a text into a field as a person would who replaces what is there."""
        self.js(f"(() => {{ const e = {_found(selector, '')}; e.focus(); e.select?.(); }})()")
        if text:
            self._browser.type(text)
        else:
            self._browser.key("Backspace")

    def choose(self, selector: str, value: str) -> None:
        self.js(
            f"(() => {{ const e = {_found(selector, '')}; e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
        )

    def key(self, name: str) -> None:
        self._browser.key(name)

    def text(self, selector: str = "main") -> str:
        return self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def screen(self, width: int, scheme: str) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self._browser.call("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self._browser.call("Emulation.setEmulatedMedia", media)

    def download(self, selector: str, text: str = "") -> Path:
        """Click and wait for the file."""
        self.click(selector, text)
        begun = self._browser.wait("Browser.downloadWillBegin")
        self._browser.wait("Browser.downloadProgress", guid=begun["guid"], state="completed")
        return self.downloads / begun["suggestedFilename"]

    def give(self, selector: str, file: Path) -> None:
        """Choose a file in a field for files."""
        root = self._browser.call("DOM.getDocument")["root"]["nodeId"]
        node = self._browser.call("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        self._browser.call("DOM.setFileInputFiles", {"files": [str(file)], "nodeId": node})

    def faults(self) -> list[str]:
        """Errors of scripts and lines of the console since the browser started."""
        self._collect()
        return self._faults

    def requests(self) -> list[str]:
        """Addresses that were asked for since the browser started."""
        self._collect()
        return self._requests

    def _collect(self) -> None:
        self.js("0")
        for event in self._browser.events:
            method, said = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                self._faults.append(str(said["exceptionDetails"]))
            if method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
                self._faults.append(str(said["args"]))
            if method == "Log.entryAdded" and said["entry"]["level"] == "error":
                self._faults.append(str(said["entry"]))
            if method == "Network.requestWillBeSent":
                self._requests.append(said["request"]["url"])
        self._browser.events.clear()

    def close(self) -> None:
        self._browser.close()


def _found(selector: str, text: str) -> str:
    return f"[...document.querySelectorAll({json.dumps(selector)})].find(e => e.innerText.includes({json.dumps(text)}))"
