"""The key pair of a host: the public half of a key that never leaves this machine."""

from ops.aws import tolerating
from ops.ec2_part import Part, Wanted, label, tagged
from ops.errors import refusal
from ops.scopes import TAG

__all__ = ["KeyPair"]


class KeyPair(Part):
    """A key that the image lets its own user log in with."""

    title = "key pair"

    def look(self) -> None:
        """Find it with its public half."""
        found = self.account.ec2.describe_key_pairs(
            Filters=[{"Name": "key-name", "Values": [label(self.name)]}], IncludePublicKey=True
        )["KeyPairs"]
        self.identity = found[0]["KeyName"] if found else ""
        self.public = found[0].get("PublicKey", "").split()[:2] if found else []
        if found and {"Key": TAG, "Value": self.name} not in found[0].get("Tags", []):
            raise refusal(
                f"the key pair {self.identity} is there and has no tag {TAG}={self.name}",
                "give the host another name: --name",
            )

    def todo(self, wanted: Wanted) -> list[str]:
        """Refuse another key of the same name: the machine was made with it."""
        if self.identity and self.public and self.public != wanted.public_key.split()[:2]:
            raise refusal(
                f"the key pair {self.identity} in AWS is another than this folder's",
                "set DEPLOY_KEY to the key that the host was made with, or take another --name",
            )
        return [] if self.identity else [f"bring the public key to AWS as {wanted.label}"]

    def make(self, wanted: Wanted) -> None:
        """Import the public key."""
        with tolerating("InvalidKeyPair.Duplicate"):  # imported, and the answer was lost
            self.account.ec2.import_key_pair(
                KeyName=wanted.label,
                PublicKeyMaterial=wanted.public_key.encode(),
                TagSpecifications=tagged("key-pair", self.name),
            )

    def remove(self) -> None:
        """Remove AWS's copy of the public key."""
        self.account.ec2.delete_key_pair(KeyName=label(self.name))
