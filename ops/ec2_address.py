"""The address of a host that stays when the machine is stopped: an Elastic IP, if asked for."""

from ops.aws import tolerating
from ops.ec2_instance import Instance
from ops.ec2_part import Part, Wanted, filters, tagged

__all__ = ["ElasticIp"]


class ElasticIp(Part):
    """An Elastic IP."""

    title = "address"

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance.account, instance.name)
        self.instance = instance

    def look(self) -> None:
        """Find it; one that was asked for twice, after an answer was lost, is a spare."""
        found = self.account.ec2.describe_addresses(Filters=filters(self.name))["Addresses"]
        found.sort(key=lambda each: not each.get("InstanceId"))
        self.identity = found[0]["AllocationId"] if found else ""
        self.address = found[0].get("PublicIp", "") if found else ""
        self.used_by = found[0].get("InstanceId", "") if found else ""
        self.spare = [each["AllocationId"] for each in found[1:]]

    def todo(self, wanted: Wanted) -> list[str]:
        """Make one where one is asked for; one that is there stays."""
        if not self.identity:
            return ["give it an address that stays (Elastic IP)"] if wanted.elastic_ip else []
        lines = [] if self.used_by == self.instance.identity else [f"give it {self.address}"]
        return lines + [f"release the spare address {each}" for each in self.spare]

    def make(self, wanted: Wanted) -> None:
        """Allocate it and give it to the machine."""
        del wanted
        ec2 = self.account.ec2
        if not self.identity:
            ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip", self.name))
            self.look()
        for each in self.spare:
            ec2.release_address(AllocationId=each)
        ec2.associate_address(AllocationId=self.identity, InstanceId=self.instance.identity)

    def remove(self) -> None:
        """Give it back to AWS."""
        for each in [self.identity, *self.spare]:
            with tolerating("InvalidAllocationID.NotFound"):
                self.account.ec2.release_address(AllocationId=each)
