"""The data volume of a host: Docker's data, which outlives the machine it is in."""

from ops.aws import tolerating
from ops.ec2_part import Part, Wanted, filters, tagged
from ops.errors import refusal

__all__ = ["DataVolume"]

THERE = ["creating", "available", "in-use"]


class DataVolume(Part):
    """An encrypted gp3 volume of its own, never deleted with the machine."""

    title = "data volume"

    def look(self) -> None:
        """Find it, and the machine it is in."""
        found = self.account.ec2.describe_volumes(Filters=filters(self.name, status=THERE))
        volumes = found["Volumes"]
        if len(volumes) > 1:
            listed = ", ".join(sorted(each["VolumeId"] for each in volumes))
            raise refusal(
                f"the host {self.name} has {len(volumes)} data volumes: {listed}",
                "take the tag mlflow-compose off those that are not to be used",
            )
        self.identity = volumes[0]["VolumeId"] if volumes else ""
        self.zone = volumes[0]["AvailabilityZone"] if volumes else ""
        self.size = volumes[0]["Size"] if volumes else 0
        attached = volumes[0].get("Attachments", []) if volumes else []
        self.attached_to = attached[0]["InstanceId"] if attached else ""

    def todo(self, wanted: Wanted) -> list[str]:
        """Make one where there is none; another size is nothing to be done from here."""
        if self.identity:
            return []
        return [f"make an encrypted data volume of {wanted.data_gib} GiB in {wanted.place.zone}"]

    def make(self, wanted: Wanted) -> None:
        """Make it and wait until it can be attached."""
        # botocore adds a client token: an answer that is lost makes no second volume.
        made = self.account.ec2.create_volume(
            AvailabilityZone=wanted.place.zone,
            Size=wanted.data_gib,
            VolumeType="gp3",
            Encrypted=True,
            TagSpecifications=tagged("volume", self.name),
        )
        self.account.ec2.get_waiter("volume_available").wait(
            VolumeIds=[made["VolumeId"]], WaiterConfig={"Delay": 2, "MaxAttempts": 60}
        )

    def remove(self) -> None:
        """Delete it with all that is on it."""
        with tolerating("InvalidVolume.NotFound"):
            self.account.ec2.get_waiter("volume_available").wait(
                VolumeIds=[self.identity], WaiterConfig={"Delay": 2, "MaxAttempts": 60}
            )
            self.account.ec2.delete_volume(VolumeId=self.identity)
