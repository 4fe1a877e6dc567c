"""A host on EC2 as a whole: its parts in the order in which they are made."""

from ops import console
from ops.aws import Account, in_our_words
from ops.ec2_address import ElasticIp
from ops.ec2_firewall import Firewall
from ops.ec2_instance import Instance
from ops.ec2_key import KeyPair
from ops.ec2_part import Part, Wanted
from ops.ec2_role import Role
from ops.ec2_volume import DataVolume
from ops.errors import FAILED, OpsError

__all__ = ["Ec2Host"]


class Ec2Host:
    """A host by its name."""

    def __init__(self, account: Account, name: str) -> None:
        self.account, self.name = account, name
        self.role, self.key = Role(account, name), KeyPair(account, name)
        self.firewall, self.volume = Firewall(account, name), DataVolume(account, name)
        self.instance = Instance(self.volume)
        self.address = ElasticIp(self.instance)
        self.parts: list[Part] = [
            *(self.role, self.key, self.firewall, self.volume, self.instance, self.address)
        ]

    def look(self) -> None:
        """Find all parts."""
        for part in self.parts:
            part.look()

    def todo(self, wanted: Wanted) -> list[str]:
        """Return what is not as wanted, a line each. After `look`."""
        return [f"{part.title}: {line}" for part in self.parts for line in part.todo(wanted)]

    def make(self, wanted: Wanted) -> None:
        """Bring all to what is wanted. If it fails, what was not there before goes again.

        What it made is found anew by its name, not remembered: an answer that was lost may have
        been a yes. Raises OpsError that says what is left if that fails too.
        """
        before = {part.title for part in self.parts if part.identity}
        try:
            with in_our_words(FAILED):
                for part in self.parts:
                    part.look()
                    if part.todo(wanted):
                        with console.progress(part.title):
                            part.make(wanted)
                self.look()
        except BaseException as error:
            self._undo(before, error)
            raise

    def _undo(self, before: set[str], error: BaseException) -> None:
        """Remove what is there now and was not before, the last first."""
        left = []
        for part in reversed(self.parts):
            if part.title in before:
                continue
            try:
                with in_our_words(FAILED):
                    part.look()
                    if part.identity:
                        with console.progress(f"undoing: {part.title}"):
                            part.remove()
            except OpsError as problem:
                left.append(f"{part.title} {part.identity}: {problem.cause}")
        if left:
            first = error.cause if isinstance(error, OpsError) else "it was interrupted"
            raise OpsError(
                "\n  ".join([first, "and not all that was made is gone:", *left]),
                f"remove the rest: invoke terminate --name {self.name}",
            ) from error

    def going(self, *, data: bool) -> list[Part]:
        """Return what `remove` takes away: all but the data volume, which only `data` takes too."""
        there = [part for part in self.parts if part.identity]
        return [part for part in there if data or part is not self.volume]

    def remove(self, *, data: bool) -> None:
        """Remove it, the last made first."""
        with in_our_words(FAILED):
            for part in reversed(self.going(data=data)):
                with console.progress(f"removing: {part.title}"):
                    part.remove()
