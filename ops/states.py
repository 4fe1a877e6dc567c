"""What is known of a stack on any engine: which one it is, and how its services are."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from ops import preflight
from ops.certificate_state import Certificate
from ops.errors import refusal
from ops.protection import Protection
from ops.settings import Settings

__all__ = ["Service", "Status", "remember", "remembered"]


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a stack as it runs now."""

    name: str
    state: str
    healthy: bool
    uptime_seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """A whole stack as it runs now."""

    engine: str
    url: str
    healthy: bool
    services: tuple[Service, ...]
    backups: Protection | None = None
    certificate: Certificate | None = None
    """These two are None where there are none to be."""

    @classmethod
    def of_containers(
        cls,
        url: str,
        services: tuple[Service, ...],
        *,
        answers: bool,
        backups: Protection | None,
        certificate: Certificate | None,
    ) -> Self:
        """Return the state of a stack on Docker; `answers` says whether its front door does."""
        healthy = answers and all(each.healthy for each in services)
        made = cls("compose", url, healthy, services, backups, certificate)
        return replace(made, healthy=healthy and not made.problems)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong beside the services themselves."""
        reports = {"backups": self.backups, "certificate": self.certificate}
        return tuple(
            f"{name}: {problem}"
            for name, report in reports.items()
            for problem in (report.problems if report else ())
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def remember(settings: Settings, name: str) -> None:
    """Keep the engine's name: another one would start without the data of this one."""
    preflight.data_folder(settings.data)
    (settings.data / "engine").write_text(f"{name}\n", "utf-8")


def remembered(settings: Settings) -> str:
    """Return the name of the engine this stack came up on last; "" before the first time."""
    file = settings.data / "engine"
    try:
        return file.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        preflight.data_folder(settings.data)
        raise refusal(
            f"cannot read {file}: {error.strerror}",
            "set DATA_FOLDER in .env to a folder of your own",
        ) from None
