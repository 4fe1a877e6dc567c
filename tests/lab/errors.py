"""The one error of the lab: a cause, then a remedy."""

from __future__ import annotations


class LabError(Exception):
    """Something the lab could not do, with what to do about it."""

    def __init__(self, cause: str, remedy: str) -> None:
        """Keep both halves; printing the error shows them on two lines."""
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        """Show the cause, then the remedy."""
        return f"{self.cause}\n  try: {self.remedy}"
