"""Artifacts up and down: through a server as MLflow's client sends them, and straight to S3."""

import filecmp
import time
from pathlib import Path

import requests

from tests import lab
from tests.e2e.conftest import s3_client
from tests.e2e.side import Side

MIB = 1024**2
PLACE = "/api/2.0/mlflow-artifacts/artifacts/bench"
BUCKET = "mlflow-artifacts"
SECONDS = 600


class Way:
    """One way of a file to S3 and back."""

    def up(self, file: Path) -> float:
        """Send a file; return the seconds it took."""
        raise NotImplementedError

    def down(self, file: Path) -> float:
        """Fetch it; return the seconds it took."""
        raise NotImplementedError


class Through(Way):
    """One side's front door, through a connection that is kept."""

    def __init__(self, side: Side) -> None:
        self.address = side.url + PLACE
        self.session = requests.Session()
        self.session.trust_env = False  # REQUESTS_CA_BUNDLE would win over `verify`
        self.session.verify = side.ca or True
        self.session.auth = side.admin

    def up(self, file: Path) -> float:
        begin = time.monotonic()
        with file.open("rb") as stream:
            answer = self.session.put(f"{self.address}/{file.name}", data=stream, timeout=SECONDS)
        answer.raise_for_status()
        return time.monotonic() - begin

    def down(self, file: Path) -> float:
        begin, back = time.monotonic(), file.with_name("back")
        address = f"{self.address}/{file.name}"
        with (
            self.session.get(address, stream=True, timeout=SECONDS) as answer,
            back.open("wb") as copy,
        ):
            answer.raise_for_status()
            for piece in answer.iter_content(MIB):
                copy.write(piece)
        return _whole(file, back, time.monotonic() - begin)


class Straight(Way):
    """S3 without a server, as a client that has keys of its own sends and fetches."""

    def __init__(self, the_lab: lab.Lab) -> None:
        self.client = s3_client(the_lab.s3)

    def up(self, file: Path) -> float:
        begin = time.monotonic()
        self.client.upload_file(str(file), BUCKET, f"bench-straight/{file.name}")
        return time.monotonic() - begin

    def down(self, file: Path) -> float:
        begin, back = time.monotonic(), file.with_name("back")
        self.client.download_file(BUCKET, f"bench-straight/{file.name}", str(back))
        return _whole(file, back, time.monotonic() - begin)


def _whole(file: Path, back: Path, seconds: float) -> float:
    """Return how long a file took, now that it has come back as it was."""
    assert filecmp.cmp(file, back, shallow=False)
    back.unlink()
    return seconds
