"""HTTP as a client speaks it: the server reached through its front door."""

import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from ops import certificates
from ops.errors import OpsError, refusal
from ops.settings import ADMIN, Settings, of_a_client

__all__ = [
    "FrontDoor",
    "RequestError",
    "address",
    "as_client",
    "headers",
    "local",
    "through",
    "trust",
    "wait",
]


class RequestError(Exception):
    """An answer that is not a success, or no answer (`status` 0).

    `code` is MLflow's own name for it, such as RESOURCE_DOES_NOT_EXIST; empty if it has none.
    `retry_after` is how many seconds a server that has too much to do asks to be left alone.
    """

    def __init__(self, status: int, message: str, code: str = "", retry_after: float = 1) -> None:
        super().__init__(f"HTTP {status}: {message}" if status else message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class FrontDoor:
    """One server, by the address its clients use."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        certificate: str = "",
        ca: str = "",
    ) -> None:
        """Speak to `url`; over TLS, to a server that proves to be `certificate` (a name).

        The proof is signed by the CA whose certificate is `ca` (PEM), or one that this machine
        trusts.
        """
        self.url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._proof = {"certificate": certificate, "ca": ca}
        self._pool = urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(connect=5, read=120), **_tls(certificate, ca)
        )

    def anew(self) -> "FrontDoor":
        """Return the same door without the connections that are open."""
        return FrontDoor(self.url, self._headers, **self._proof)

    def as_host(self, name: str) -> "FrontDoor":
        """Return the same door, asked for as `name`."""
        return FrontDoor(self.url, {**self._headers, "Host": name}, **self._proof)

    def request(self, method: str, path: str, **options: Any) -> bytes:  # noqa: ANN401
        """Send one request, never repeated; raise RequestError unless the answer is a success."""
        headers = {**self._headers, **options.pop("headers", {})}
        try:
            answer = self._pool.request(method, self.url + path, headers=headers, **options)
        except urllib3.exceptions.HTTPError as error:
            raise RequestError(0, f"no answer from {self.url}: {error}") from None
        if answer.status >= 300:
            text = answer.data[:300].decode(errors="replace").strip()
            shown = text or answer.reason or "no message"
            wait = answer.headers.get(
                "Retry-After", ""
            )  # seconds; a date is what nobody sends here
            after = float(wait) if re.fullmatch("[0-9]{1,9}", wait) else 1
            raise RequestError(answer.status, shown, _code(answer.data), after)
        return answer.data

    def call(
        self, method: str, path: str, body: Mapping[str, Any], version: str = "2.0"
    ) -> dict[str, Any]:
        """Call MLflow's REST API; `body` becomes JSON, or the query of a GET."""
        options = {"fields" if method == "GET" else "json": body}
        data = self.request(method, f"/api/{version}/mlflow{path}", **options)
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
                f"{self.url}/api/2.0/mlflow/experiments/search?max_results=1",
                headers={**self._headers, "Origin": origin},
            )
        except urllib3.exceptions.HTTPError as error:
            raise RequestError(0, f"no answer from {self.url}: {error}") from None
        return answer.headers.get("Access-Control-Allow-Origin", "")

    def answers(self) -> None:
        """Raise RequestError unless server and database both answer."""
        self.call("POST", "/experiments/search", {"max_results": 1})


def as_client(url: str) -> FrontDoor:
    """Return a door as MLflow's client comes to it, by what its environment says."""
    name, password, ca = of_a_client()
    headers = _login(name, password) if name else {}
    try:
        text = Path(ca).read_text("utf-8") if ca else ""
    except OSError as error:
        raise refusal(
            f"MLFLOW_TRACKING_SERVER_CERT_PATH {ca} cannot be read: {error.strerror}",
            "set it to the CA that signed the server's certificate, or take it away",
        ) from None
    return FrontDoor(url, headers, certificate=urlsplit(url).hostname or "", ca=text)


def _code(data: bytes) -> str:
    """Return what MLflow calls its error, if it is one of MLflow's."""
    try:
        said = json.loads(data)
    except ValueError:
        return ""
    return str(said.get("error_code", "")) if isinstance(said, dict) else ""


def local(settings: Settings) -> FrontDoor:
    """Return the door as seen from this machine, whatever DNS says of the public name."""
    return _door(settings, address(settings), settings.site_port)


def address(settings: Settings) -> str:
    """Return the address at which the machine that runs the stack reaches its front door."""
    given = settings.bind_address
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(given, given)  # noqa: S104


def through(settings: Settings, port: int) -> FrontDoor:
    """Return the door of another machine, whose own port is reached as `port` on this one."""
    return _door(settings, "127.0.0.1", port)


def _door(settings: Settings, where: str, port: int) -> FrontDoor:
    where = f"[{where}]" if ":" in where else where
    url = f"{settings.scheme}://{where}:{port}"
    name = urlsplit(settings.url).hostname or ""
    return FrontDoor(url, headers(settings), certificate=name, ca=certificates.authority(settings))


def headers(settings: Settings) -> dict[str, str]:
    """Return what a request of ours has: the public name, and the login of the admin."""
    named = {"Host": urlsplit(settings.url).netloc}
    if settings.admin_password is None or settings.auth == "none":
        return named
    return named | _login(ADMIN, settings.admin_password.reveal())


def _login(name: str, password: str) -> dict[str, str]:
    return urllib3.make_headers(basic_auth=f"{name}:{password}", basic_auth_encoding="utf-8")


def trust(ca: str) -> ssl.SSLContext:
    """Return what TLS needs to trust whom this machine trusts, and a CA given as PEM."""
    context = ssl.create_default_context()
    if ca:
        # What was given is believed, whoever signed it (default since Python 3.13).
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=ca)
    return context


def _tls(certificate: str, ca: str) -> dict[str, Any]:
    if not certificate:
        return {}
    return {
        "ssl_context": trust(ca),
        "server_hostname": certificate,
        "assert_hostname": certificate,
    }


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
