"""The lab from a terminal: `python -m tests.lab up [--hosts N]` and `python -m tests.lab down`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys

from . import down, up
from .errors import LabError


def _arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    raising = verbs.add_parser("up", help="have the lab running; print it as JSON")
    raising.add_argument("--hosts", type=int, default=0, metavar="N", help="at least N EC2 hosts")
    verbs.add_parser("down", help="remove everything the lab made")
    return parser.parse_args()


def main() -> int:
    """Do one verb; results go to stdout, everything else to stderr."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="lab: %(message)s")
    try:
        if arguments.verb == "up":
            lab = up(hosts=arguments.hosts)
            sys.stdout.write(f"{json.dumps(dataclasses.asdict(lab))}\n")
        else:
            down()
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
