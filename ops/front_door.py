"""HTTP as a client speaks it: the server reached through its front door."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3

from ops.errors import OpsError
from ops.settings import Settings

__all__ = ["FrontDoor", "RequestError", "address", "local", "through", "wait"]

API = "/api/2.0/mlflow"


class RequestError(Exception):
    """An answer that is not a success, or no answer (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}" if status else message)
        self.status = status


class FrontDoor:
    """One server, by the address its clients use."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._pool = urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(connect=5, read=120)
        )

    def anew(self) -> "FrontDoor":
        """Return the same door without the connections that are open."""
        return FrontDoor(self.url, self._headers)

    def request(self, method: str, path: str, **options: Any) -> bytes:  # noqa: ANN401
        """Send one request, never repeated; raise RequestError unless the answer is a success."""
        headers = {**self._headers, **options.pop("headers", {})}
        try:
            answer = self._pool.request(method, self.url + path, headers=headers, **options)
        except urllib3.exceptions.HTTPError as error:
            raise RequestError(0, f"no answer from {self.url}: {error}") from None
        if answer.status >= 300:
            text = answer.data[:300].decode(errors="replace").strip()
            raise RequestError(answer.status, text or answer.reason or "no message")
        return answer.data

    def call(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call MLflow's REST API; `body` becomes JSON, or the query of a GET."""
        if method == "GET":
            data = self.request(method, API + path, fields=body)
        else:
            data = self.request(method, API + path, json=body)
        try:
            answer = json.loads(data) if data else {}
        except ValueError:
            raise RequestError(200, f"{path} answered something that is not JSON") from None
        if not isinstance(answer, dict):
            raise RequestError(200, f"{path} answered something that is not an object")
        return answer

    def allowed_origin(self, origin: str) -> str:
        """Return which pages the server lets read its answer to a page of `origin`; "" for none."""
        try:
            answer = self._pool.request(
                "GET",
                f"{self.url}{API}/experiments/search?max_results=1",
                headers={**self._headers, "Origin": origin},
            )
        except urllib3.exceptions.HTTPError as error:
            raise RequestError(0, f"no answer from {self.url}: {error}") from None
        return answer.headers.get("Access-Control-Allow-Origin", "")

    def answers(self) -> None:
        """Raise RequestError unless server and database both answer."""
        self.call("POST", "/experiments/search", {"max_results": 1})


def local(settings: Settings) -> FrontDoor:
    """Return the door as seen from this machine, whatever DNS says of the public name."""
    where = address(settings)
    where = f"[{where}]" if ":" in where else where
    host = urlsplit(settings.url).netloc
    return FrontDoor(f"http://{where}:{settings.http_port}", {"Host": host})


def address(settings: Settings) -> str:
    """Return the address at which the machine that runs the stack reaches its front door."""
    given = settings.bind_address
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(given, given)  # noqa: S104


def through(settings: Settings, port: int) -> FrontDoor:
    """Return the door of another machine, whose own port is reached as `port` on this one."""
    return FrontDoor(f"http://127.0.0.1:{port}", {"Host": urlsplit(settings.url).netloc})


def wait(door: FrontDoor, seconds: float, alive: Callable[[], None]) -> None:
    """Wait until the server answers through the door; `alive` raises when it cannot any more."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            door.answers()
        except RequestError as error:
            if time.monotonic() > deadline:
                raise OpsError(
                    f"no answer at the front door after {seconds:.0f} s: {error}",
                    "see what the server says: invoke logs",
                ) from None
        else:
            return
        alive()
        time.sleep(0.3)
