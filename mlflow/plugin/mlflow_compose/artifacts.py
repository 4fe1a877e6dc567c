"""Where MLflow asks for a place in S3 (its entry point for plugins): which way artifacts go there.

MLflow hands out signed addresses of whatever is in S3, and tells its clients so: they then fetch
every file from S3 itself, and send each of 500 MB or more there (3.17.2). No setting of its server
keeps it from that, and a client that does not reach S3 fetches nothing. So a server that is to
carry all artifacts says that its place cannot do this; clients then take the other way.
"""

import os
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

PARTS = 10_000
"""As many as S3 takes: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""


def repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> Any:
    """Return how the server reaches a place in S3."""
    kind = Carried if os.environ["ARTIFACT_ACCESS"] == "proxied" else Signed
    return kind(artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri)


class Signed(S3ArtifactRepository):  # type: ignore[misc]
    """A place of which clients get signed addresses."""

    def create_multipart_upload(
        self, local_file: str, num_parts: int = 1, artifact_path: str | None = None
    ) -> Any:
        """Begin an upload; MLflow would sign as many addresses as somebody asks for."""
        if not 1 <= num_parts <= PARTS:
            raise MlflowException.invalid_parameter_value(
                f"{num_parts} parts: S3 takes 1 to {PARTS}. A larger "
                "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE makes fewer of a file."
            )
        return super().create_multipart_upload(local_file, num_parts, artifact_path)


class Carried(ArtifactRepository):  # type: ignore[misc]
    """A place of which they get none: what S3 does for the server itself, and no more."""

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self.place = S3ArtifactRepository(
            artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri
        )

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Store a file."""
        self.place.log_artifact(local_file, artifact_path)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Store a folder."""
        self.place.log_artifacts(local_dir, artifact_path)

    def list_artifacts(self, path: str | None = None) -> Any:
        """Return what is in a folder."""
        return self.place.list_artifacts(path)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file, or a folder."""
        self.place.delete_artifacts(artifact_path)

    def upload_archived_trace_data_bytes(self, data: bytes) -> None:
        """Store the spans of a trace."""
        self.place.upload_archived_trace_data_bytes(data)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        self.place._download_file(remote_file_path, local_path)
