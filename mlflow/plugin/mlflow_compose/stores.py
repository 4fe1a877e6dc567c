"""Where MLflow asks for the store of what is tracked in MySQL (its entry point for plugins)."""

from typing import Any

from mlflow_compose import proven


def tracking(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Return our store; MLflow's own where ours was not proven, and where it does not apply."""
    # Not above: MLflow asks for this function while it is being imported itself.
    from mlflow.server.handlers import TrackingStoreRegistryWrapper

    if not proven.holds():
        return TrackingStoreRegistryWrapper._get_sqlalchemy_store(store_uri, artifact_uri)
    from mlflow_compose.tracking import Store

    return Store(store_uri, artifact_uri)
