"""Real parts for tests: a Docker Engine, the images of the stack, S3, a registry, EC2 hosts.

`lab.up(hosts=0)` makes ready whatever is missing and returns a `Lab`: where the S3 endpoint and
the registry are and how to log in to each simulated EC2 host. Call it in a session-scoped fixture
and leave the lab up afterwards: the next call takes a second and changes nothing. `lab.down()`
removes all of it. Where a registry offers the official images they are used; where none does,
`python:3.13`, `python:3.13-slim`, `mysql:9.7` and `nginx:1.30` are stand-ins built from Debian
packages (`is_stand_in(name)` tells), so compose files and Dockerfiles run unchanged.
`load_image(host, name)` copies an image to a host. `bare_host()` makes one more host, new each
time, that has no Docker yet; `spare_s3()` an S3 server more, for a test that takes it away.
MLFLOW_LAB_NAME gives a second lab its own name, MLFLOW_LAB_STATE another folder for keys.
"""

from .errors import LabError
from .hosts import load_image
from .images import is_stand_in
from .lifecycle import bare_host, down, spare_s3, up
from .model import S3, Host, Lab

__all__ = [
    "S3",
    "Host",
    "Lab",
    "LabError",
    "bare_host",
    "down",
    "is_stand_in",
    "load_image",
    "spare_s3",
    "up",
]
