"""A headless Chromium without a network, for tests of pages; driven over a pipe.

By the standard library alone: the DevTools protocol over `--remote-debugging-pipe` is JSON messages that end
with a zero byte, on the file descriptors 3 and 4 of the browser.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 120.0
"""For an answer: a busy machine takes a while to start a browser."""


class Browser:
    """One browser with one page. A context manager; `folder` is for its profile."""

    def __init__(self, folder: Path, *, width: int = 1280, height: int = 900) -> None:
        program = shutil.which("chromium")
        assert program is not None, "chromium is not installed: make test-packages"
        self._buffer = b""
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        child_in, self._out = os.pipe()
        self._in, child_out = os.pipe()
        arguments = [
            *(
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
            ),
            *(f"--user-data-dir={folder}", f"--window-size={width},{height}"),
            # Every name is unknown: whatever a page asks for, it does not get.
            *("--host-resolver-rules=MAP * ~NOTFOUND", "about:blank"),
        ]
        # The shell gives the pipes the numbers that the protocol wants.
        script = f'exec "$@" 3<&{child_in} 4>&{child_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "chromium", program, *arguments],
            pass_fds=(child_in, child_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_in)
        os.close(child_out)

    def __enter__(self) -> Self:
        target = self._call("Target.createTarget", None, url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", None, targetId=target, flatten=True)
        self._session = str(attached["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=TIMEOUT_S)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer of the page to a method of the protocol."""
        return self._call(method, self._session, **parameters)

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page, whatever the page's own policy is."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def of(self, *methods: str) -> list[dict[str, Any]]:
        """Return the parameters of the events of these kinds since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def press(self, key: str, code: int, *, text: str = "") -> None:
        """Press and release a key; `text` is what it types."""
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **pressed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def _call(self, method: str, session: str | None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._receive()
            if found.get("id") == number:
                assert "error" not in found, found["error"]
                return dict(found["result"])
            self.events.append(found)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], TIMEOUT_S)
            assert ready, "the browser does not answer"
            received = os.read(self._in, 1 << 20)
            assert received, "the browser has ended"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))
