"""What a lab offers to a test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class S3:
    """An S3 endpoint with path-style addresses: one URL for the test, containers and hosts."""

    endpoint: str
    access_key: str
    secret_key: str
    name: str


@dataclass(frozen=True, slots=True)
class Host:
    """A simulated EC2 host, reached over SSH."""

    name: str
    address: str
    port: int
    user: str
    key: str
    known_hosts: str


@dataclass(frozen=True, slots=True)
class Lab:
    """Everything that `up` made ready; `registry` speaks plain HTTP."""

    hosts: tuple[Host, ...]
    s3: S3
    registry: str
