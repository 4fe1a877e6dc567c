"""Login by an identity provider (AUTH=oidc): what its plugin in the server is told.

https://github.com/mlflow-oidc/mlflow-oidc-auth/blob/main/docs/configuration.md (11.0.2)
"""

from ops import database
from ops.settings import Settings

__all__ = ["INLINE_SCRIPTS", "OVERLAY", "variables"]

OVERLAY = "compose/oidc.yaml"
"""The overlay of a stack whose people log in at an identity provider."""

INLINE_SCRIPTS = " ".join(
    f"'sha256-{digest}'"
    for digest in (
        "dGZokudzM8N0agyOHWtvznuDJ+5wj/rgI2uj3rJ/yS4=",  # the start of its own pages
        "pjGc7QldvYf3y6GbJ8q9NEHUtsnO0Sb4KI6hphR6Yvo=",  # logs in again after a 401
        "BZIzSAEEgpZ50JpkNpRbfeNnaFUmIlqN0//hyx2ksAE=",  # the menu's entries
    )
)
"""The scripts in its pages, as a Content-Security-Policy names them; a test makes them anew."""


def variables(settings: Settings) -> dict[str, str]:
    """Return the variables of its overlay."""
    if settings.auth != "oidc":
        return {}
    issuer = settings.oidc_issuer.rstrip("/")
    return {
        "OIDC_DISCOVERY_URL": f"{issuer}/.well-known/openid-configuration",
        "OIDC_ISSUER": settings.oidc_issuer,
        "OIDC_CLIENT_ID": settings.oidc_client_id,
        "OIDC_REDIRECT_URI": f"{settings.url}/callback",
        "OIDC_SCOPE": settings.oidc_scopes,
        "OIDC_GROUPS_ATTRIBUTE": settings.oidc_groups_claim,
        "OIDC_GROUP_NAME": settings.oidc_groups,
        "OIDC_ADMIN_GROUP_NAME": settings.oidc_admin_groups,
        "OIDC_USERS_DB_URI": database.uri(settings, database.SIGN_ON),
        "SESSION_COOKIE_SECURE": str(settings.url.startswith("https:")).lower(),
        "OIDC_TRUSTED": "/run/secrets/oidc_ca" if settings.oidc_ca_file else "",
    }
