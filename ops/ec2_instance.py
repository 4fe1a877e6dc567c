"""The machine of a host."""

from ops.aws import patiently, tolerating
from ops.ec2_part import Part, Wanted, filters, tagged
from ops.ec2_volume import DataVolume
from ops.errors import refusal
from ops.scopes import TAG

__all__ = ["DEVICE", "HOP_LIMIT", "Instance"]

THERE = ["pending", "running", "stopping", "stopped"]
RUNNING = ("pending", "running")
DEVICE = "/dev/sdf"
"""Where the volume is attached; on Nitro machines it shows as an NVMe device of its own name."""

HOP_LIMIT = 2
"""A container's question for the role's credentials passes one bridge more than the machine's own.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html
"""

POLL = {"Delay": 3, "MaxAttempts": 100}


class Instance(Part):
    """A machine whose root disk is encrypted and whose metadata needs a token."""

    title = "instance"

    def __init__(self, volume: DataVolume) -> None:
        super().__init__(volume.account, volume.name)
        self.volume = volume

    def look(self) -> None:
        """Find it, and how it is guarded."""
        found = self.account.ec2.describe_instances(
            Filters=filters(self.name, instance_state_name=THERE)
        )["Reservations"]
        machines = [each for group in found for each in group["Instances"]]
        if len(machines) > 1:
            listed = ", ".join(sorted(each["InstanceId"] for each in machines))
            raise refusal(
                f"the host {self.name} has {len(machines)} machines: {listed}",
                "end those that are not to be used, or take the tag mlflow-compose off them",
            )
        self.machine = machines[0] if machines else None
        self.identity = self.machine["InstanceId"] if self.machine else ""
        self.guarded = False
        if self.identity:
            answer = self.account.ec2.describe_instance_attribute(
                InstanceId=self.identity, Attribute="disableApiTermination"
            )
            self.guarded = answer["DisableApiTermination"].get("Value", False)

    @property
    def state(self) -> str:
        """What AWS says it is doing."""
        return self.machine["State"]["Name"] if self.machine else ""

    @property
    def system(self) -> str:
        """What it was started with (ops/ec2_images.py)."""
        tags = self.machine.get("Tags", []) if self.machine else []
        return next((each["Value"] for each in tags if each["Key"] == f"{TAG}-system"), "")

    @property
    def address(self) -> str:
        """Where it is reached: its public address, else the one within its network."""
        machine = self.machine or {}
        return str(machine.get("PublicIpAddress") or machine.get("PrivateIpAddress") or "")

    def todo(self, wanted: Wanted) -> list[str]:
        """Compare the machine with what a host is to be."""
        if not self.machine:
            disk = f"an encrypted root disk of {wanted.root_gib} GiB"
            return [f"start a {wanted.instance_type} from {wanted.image} with {disk}"]
        lines = []
        options = self.machine.get("MetadataOptions", {})
        if (options.get("HttpTokens"), options.get("HttpPutResponseHopLimit")) != (
            "required",
            HOP_LIMIT,
        ):
            lines.append(f"ask for a token at its metadata, {HOP_LIMIT} hops away")
        if not self.guarded:
            lines.append("guard it against termination")
        if self.state not in RUNNING:
            lines.append("start it again")
        if self.volume.identity and self.volume.attached_to != self.identity:
            lines.append(f"attach {self.volume.identity} to it")
        return lines

    def make(self, wanted: Wanted) -> None:
        """Start it, guard it, attach the data volume."""
        ec2 = self.account.ec2
        if not self.identity:
            # A role that was just made takes EC2 some seconds to know.
            patiently(lambda: self._run(wanted), "iam ?instance ?profile")
            self.look()
        options = (self.machine or {}).get("MetadataOptions", {})
        if options.get("HttpPutResponseHopLimit") != HOP_LIMIT or (
            options.get("HttpTokens") != "required"
        ):
            ec2.modify_instance_metadata_options(
                InstanceId=self.identity, HttpTokens="required", HttpPutResponseHopLimit=HOP_LIMIT
            )
        if not self.guarded:
            ec2.modify_instance_attribute(
                InstanceId=self.identity, DisableApiTermination={"Value": True}
            )
        if self.state not in RUNNING:
            ec2.start_instances(InstanceIds=[self.identity])
        ec2.get_waiter("instance_running").wait(
            InstanceIds=[self.identity],
            WaiterConfig=POLL,  # type: ignore[arg-type]
        )
        self.volume.look()
        if self.volume.attached_to != self.identity:
            with tolerating("VolumeInUse"):  # attached, and the answer was lost
                ec2.attach_volume(
                    InstanceId=self.identity, VolumeId=self.volume.identity, Device=DEVICE
                )
            self.volume.look()

    def _run(self, wanted: Wanted) -> None:
        # botocore adds a client token: an answer that is lost starts no second machine.
        self.account.ec2.run_instances(
            MinCount=1,
            MaxCount=1,
            ImageId=wanted.image,
            InstanceType=wanted.instance_type,  # type: ignore[arg-type]
            KeyName=wanted.label,
            IamInstanceProfile={"Name": wanted.label},
            NetworkInterfaces=[
                {
                    "DeviceIndex": 0,
                    "SubnetId": wanted.place.subnet,
                    "Groups": [self._group(wanted)],
                    "AssociatePublicIpAddress": True,
                }
            ],
            DisableApiTermination=True,
            MetadataOptions={
                "HttpEndpoint": "enabled",
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": HOP_LIMIT,
            },
            BlockDeviceMappings=[
                {
                    "DeviceName": wanted.root_device,
                    "Ebs": {
                        "VolumeSize": wanted.root_gib,
                        "VolumeType": "gp3",
                        "Encrypted": True,
                        "DeleteOnTermination": True,
                    },
                }
            ],
            TagSpecifications=tagged("instance", self.name, mlflow_compose_system=wanted.system),
        )

    def _group(self, wanted: Wanted) -> str:
        found = self.account.ec2.describe_security_groups(
            Filters=[{"Name": "group-name", "Values": [wanted.label]}]
        )
        return found["SecurityGroups"][0]["GroupId"]

    def remove(self) -> None:
        """Take the guard off and end it; the data volume stays."""
        ec2 = self.account.ec2
        with tolerating("InvalidInstanceID.NotFound"):
            ec2.modify_instance_attribute(
                InstanceId=self.identity, DisableApiTermination={"Value": False}
            )
            ec2.terminate_instances(InstanceIds=[self.identity])
            ec2.get_waiter("instance_terminated").wait(
                InstanceIds=[self.identity],
                WaiterConfig=POLL,  # type: ignore[arg-type]
            )
