"""Where our replacements apply. Everywhere else MLflow's own parts do the work."""

from importlib.metadata import version

MLFLOW = "3.17.2"
"""The version they were compared with, answer by answer and row by row."""


def holds() -> bool:
    """Say whether they were compared with the MLflow that is here, used as it is."""
    # Not above: MLflow asks for this module while it is being imported itself.
    from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES

    return version("mlflow") == MLFLOW and not MLFLOW_ENABLE_WORKSPACES.get()
