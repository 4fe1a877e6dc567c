"""What the parts of a host have in common."""

from ops.ec2_part import filters, label, tagged


def test_a_host_s_things_are_found_by_its_tag() -> None:
    assert [
        {"Name": "tag:mlflow-compose", "Values": ["mlflow"]},
        {"Name": "instance-state-name", "Values": ["running"]},
    ] == filters("mlflow", instance_state_name=["running"])


def test_a_thing_is_made_with_its_tags() -> None:
    [made] = tagged("volume", "mlflow", mlflow_compose_system="ubuntu")

    assert "volume" == made["ResourceType"]
    assert {
        "mlflow-compose": "mlflow",
        "Name": label("mlflow"),
        "mlflow-compose-system": "ubuntu",
    } == {each["Key"]: each["Value"] for each in made["Tags"]}
