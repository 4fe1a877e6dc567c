"""Bring a lab up, step by step and as often as you like, and take it down without a trace."""

from __future__ import annotations

import logging
import os
import time

from . import containers, engine, images, network, registry, s3, turn
from . import hosts as ec2
from .model import S3, Host, Lab
from .place import LABEL, Place

LOG = logging.getLogger(__name__)
PATIENCE = 5  # seconds for the engine to end a build that was interrupted


def up(hosts: int = 0) -> Lab:
    """Have the lab running with at least that many hosts; what runs already stays as it is."""
    place = Place.read(os.environ)
    with turn.taken():
        place.make()
        engine.ensure()
        count = max(hosts, ec2.present(place))
        images.ensure([*images.OFFICIAL, images.RCLONE, images.REGISTRY, *[images.HOST][:count]])
        net = network.ensure(place)
        return Lab(
            s3=s3.ensure(place, net),
            registry=registry.ensure(place, net),
            hosts=ec2.ensure(place, net, count),
        )


def bare_host() -> Host:
    """Have a new EC2 host that has sshd, sudo and apt, but no Docker; the last one goes."""
    place = Place.read(os.environ)
    with turn.taken():
        place.make()
        engine.ensure()
        images.ensure([images.BARE])
        return ec2.bare(place, network.ensure(place))


def spare_s3() -> S3:
    """Have a second S3 server, which a test may take away: nobody else uses it."""
    place = Place.read(os.environ)
    with turn.taken():
        place.make()
        engine.ensure()
        images.ensure([images.RCLONE])
        return s3.spare(place, network.ensure(place))


def _others(place: Place) -> bool:
    """Say whether another lab lives on this engine."""
    form = f'{{{{.Label "{LABEL}"}}}}'
    words = ["network", "ls", "--filter", f"label={LABEL}", "--format", form]
    return any(name != place.name for name in engine.docker(*words).split())


def _remove_shared() -> None:
    """Remove what labs share: their images, and the engine if a lab started it."""
    end = time.monotonic() + PATIENCE
    while (used := images.remove()) and time.monotonic() < end:
        time.sleep(0.5)
    if used:
        LOG.warning("left, because containers use them: %s", ", ".join(used))
    if not engine.is_ours():
        return
    running = engine.docker("ps", "--format", "{{.Names}}").split()
    if running:
        LOG.warning("dockerd goes on, because these run: %s", ", ".join(running))
        return
    engine.stop()


def down() -> None:
    """Remove everything the lab made; the last lab also takes the images and its engine along."""
    place = Place.read(os.environ)
    with turn.taken():
        if not engine.answers() and engine.installed() and place.folder.is_dir():
            engine.start()
        if engine.answers():
            containers.remove(place)
            network.remove(place)
            if not _others(place):
                _remove_shared()
        place.remove()
