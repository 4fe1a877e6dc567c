"""AWS for the tests: moto's server over HTTP, which records calls and can be made to fail.

What moto has not is put in here: the console of a machine, a price list, client tokens, and the
public parameters of all systems, which name an image that is made for it. Nor does it look at the
owner that a call on a bucket expects, and lets accounts into one another's buckets: that is refused
here, as S3 does.
"""

import base64
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import boto3
from botocore.loaders import Loader
from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeBucket, s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "eu-west-2"
JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Call:
    """A request to AWS: the API operation, and its form.

    For S3 its query, `path`, and `ExpectedBucketOwner`.
    """

    operation: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    """What goes wrong with the calls that `hits` says yes to.

    With `done`, AWS has done what was asked when the error comes back.
    """

    hits: Callable[[int, Call], bool]
    code: str = "Boom"
    status: int = 400
    message: str = "injected"
    done: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Aws:
    """An AWS of our own at `url`."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    answers: dict[str, Callable[[Call], tuple[str, bytes]]] = field(default_factory=dict)
    """By operation, what is answered instead of moto's answer: content type and body."""
    clients: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a process that has this AWS for the real one."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    @property
    def operations(self) -> list[str]:
        """The operations called so far, in order."""
        return [call.operation for call in self.calls]

    def client(self, service: str, region: str = REGION) -> Any:
        """Return a client of a test's own; its calls are recorded and fail as ours do."""
        if (service, region) not in self.clients:
            self.clients[service, region] = boto3.client(
                service,  # type: ignore[call-overload]
                region_name=region,
                endpoint_url=self.url,
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            )
        return self.clients[service, region]

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Have a fault for a while; calls are counted from 0 again."""
        self.calls.clear()
        self.faults.append(fault)
        try:
            yield
        finally:
            self.faults.remove(fault)

    def foreign_bucket(self, name: str) -> FakeBucket:
        """Make a bucket of another account."""
        return s3_backends["210987654321"]["aws"].create_bucket(name, REGION)

    def console(self, text: str) -> None:
        """Have every machine's console show this."""
        encoded = base64.b64encode(text.encode()).decode()
        body = f"<GetConsoleOutputResponse><output>{encoded}</output></GetConsoleOutputResponse>"
        self.answers["GetConsoleOutput"] = lambda _: ("text/xml", body.encode())

    def systems(self) -> None:
        """Have the parameters of every system name an image that moto knows."""
        image = self.client("ec2").register_image(Name="system", RootDeviceName="/dev/sda1")
        body = json.dumps({"Parameter": {"Name": "x", "Type": "String", "Value": image["ImageId"]}})
        self.answers["GetParameter"] = lambda _: (JSON, body.encode())

    def prices(self, *dollars: float) -> None:
        """Have a price list: what the questions cost, in the order in which they are asked."""
        left = iter(dollars)

        def answer(_: Call) -> tuple[str, bytes]:
            per_unit = {"pricePerUnit": {"USD": str(next(left))}}
            product = {"terms": {"OnDemand": {"a": {"priceDimensions": {"b": per_unit}}}}}
            return JSON, json.dumps({"PriceList": [json.dumps(product)]}).encode()

        self.answers["GetProducts"] = answer


@cache
def loader() -> Loader:
    """Read botocore's descriptions of AWS once, not for every session: half a second each."""
    return Loader()


@contextmanager
def running() -> Iterator[Aws]:
    """Start an empty AWS on a free port; moto keeps its state per process, so there is only one."""
    BackendDict.reset()
    aws = Aws()
    app = Recorder(aws, DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    aws.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield aws
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        BackendDict.reset()


class Quiet(WSGIRequestHandler):
    """Logs nothing and speaks HTTP/1.1, as AWS does."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        """Say nothing."""


class Recorder:
    """Sits in front of moto: records each call, and fails or answers those it was told to."""

    def __init__(self, aws: Aws, app: Any) -> None:
        self.aws, self.app = aws, app
        self.lock = threading.Lock()
        self.tokens: dict[str, bytes] = {}

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size) if size else b""
        if size:
            environ["wsgi.input"] = BytesIO(body)
        call = recognise(environ, body)
        with self.lock:
            number = len(self.aws.calls)
            self.aws.calls.append(call)
            fault = next((each for each in self.aws.faults if each.hits(number, call)), None)
        if fault is None and foreign(environ, call):
            fault = Fault(lambda *_: True, "AccessDenied", 403, "Access Denied")
        if fault:
            if fault.done:
                self.answer(call, environ, lambda *_, **__: None)
            return failure(environ, start, fault)
        if call.operation in self.aws.answers:
            kind, data = self.aws.answers[call.operation](call)
            return reply(start, 200, kind, data)
        return self.answer(call, environ, start)

    def answer(self, call: Call, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Let moto answer; a client token gets the same answer again, as from AWS."""
        token = call.fields.get("ClientToken")
        if token in self.tokens:
            return reply(start, 200, "text/xml", self.tokens[token])
        answer = b"".join(self.app(environ, start))
        if token:
            self.tokens[token] = answer
        return [answer]


def foreign(environ: dict[str, Any], call: Call) -> bool:
    """Return whether a call expects another owner of a bucket than it has."""
    expected = call.fields.get("ExpectedBucketOwner")
    known = s3_backends.bucket_accounts.get(environ["PATH_INFO"].split("/")[1])
    return bool(expected and known and expected != known[1])


def reply(
    start: Any, status: int, kind: str, data: bytes, more: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    start(f"{status} x", [("Content-Type", kind), ("Content-Length", str(len(data))), *more])
    return [data]


def failure(environ: dict[str, Any], start: Any, fault: Fault) -> list[bytes]:
    """Answer with an error as the protocol of the request has it."""
    inner = f"<Code>{fault.code}</Code><Message>{fault.message}</Message>"
    if environ.get("HTTP_X_AMZ_TARGET"):
        data = json.dumps({"__type": fault.code, "message": fault.message}).encode()
        return reply(start, fault.status, "application/x-amz-json-1.1", data)
    if service(environ) == "s3":
        text = f"<Error>{inner}</Error>"
        return reply(start, fault.status, "application/xml", text.encode(), fault.headers)
    if service(environ) == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors></Response>"
        return reply(start, fault.status, "text/xml", text.encode())
    text = f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>"
    return reply(start, fault.status, "text/xml", text.encode())


def service(environ: dict[str, Any]) -> str:
    """Return the service a request was signed for."""
    scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
    return scope[3] if len(scope) > 3 else "s3"


def recognise(environ: dict[str, Any], body: bytes) -> Call:
    """Find out which API operation a request is."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return Call(target.rpartition(".")[2])
    if service(environ) == "s3":
        query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        owner = environ.get("HTTP_X_AMZ_EXPECTED_BUCKET_OWNER", "")
        more = {"path": environ["PATH_INFO"], "ExpectedBucketOwner": owner}
        return Call(s3_operation(environ), {**dict(query), **more})
    form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    return Call(form.get("Action", "?"), form)


@cache
def s3_routes() -> list[tuple[str, int, frozenset[str], str]]:
    """Return method, depth of the path, names in the query and operation, the longest first."""
    model = Loader().load_service_model("s3", "service-2")
    routes = []
    for name, operation in model["operations"].items():
        path, _, query = operation["http"]["requestUri"].partition("?")
        depth = len([part for part in path.split("/") if part])
        names = frozenset(parse_qs(query, keep_blank_values=True)) - {"x-id"}
        shape = model["shapes"][operation["input"]["shape"]] if "input" in operation else {}
        required = [shape["members"][each] for each in shape.get("required", ())]
        names |= {
            each["locationName"] for each in required if each.get("location") == "querystring"
        }
        routes.append((operation["http"]["method"], depth, names, name))
    return sorted(routes, key=lambda route: -len(route[2]))


def s3_operation(environ: dict[str, Any]) -> str:
    """Return the S3 operation of a request, as botocore's own model describes it."""
    parts = [part for part in environ["PATH_INFO"].split("/", 2) if part]
    given = set(parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    method = environ["REQUEST_METHOD"]
    if "HTTP_X_AMZ_COPY_SOURCE" in environ:
        return "CopyObject"
    for wanted, depth, names, name in s3_routes():
        if wanted == method and depth == len(parts) and names <= given and name not in RIVALS:
            return name
    return "?"


RIVALS = {
    *("CopyObject", "UploadPartCopy", "ListObjects", "RenameObject", "CreateSession"),
    *("PutBucketLifecycle", "GetBucketLifecycle"),
    *("PutBucketNotification", "GetBucketNotification"),
}
"""Operations that have another one's method, path and query, most of them older ones."""
