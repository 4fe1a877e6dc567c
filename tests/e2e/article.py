"""The stack of articles on MLflow with Docker Compose, as it would be built today.

Images as they are, MLflow's defaults, a plain `proxy_pass`. Two things are not in every article,
but nothing would run without them: MySQL trusts whoever creates a trigger, and MLflow is told the
name by which NGINX asks. With a login it is MLflow's own, untouched: its users are in SQLite,
because on MySQL it does not start (3.17.2).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests import lab
from tests.e2e.conftest import CA_FILE, ROOT, free_port, output, s3_settings, wait_for
from tests.e2e.side import START_SECONDS, Side

FILES = ROOT / "tests" / "e2e" / "article_files"
IMAGE = "e2e-bench-article"
PLAIN, LOGIN = "article", "article with a login"
ADMIN = ("admin", "of-the-article")


def build() -> None:
    """Build the server's image, of the same MLflow as ours."""
    text = (ROOT / "mlflow" / "requirements.in").read_text("utf-8")
    [mlflow] = re.findall(r"^mlflow\[auth\]==\S+", text, re.MULTILINE)
    secrets = [f"--secret=id=ca,src={CA_FILE}"] if CA_FILE.exists() else []
    words = ("docker", "build", "--tag", IMAGE, f"--build-arg=MLFLOW={mlflow}", *secrets)
    output(*words, str(FILES))


@contextmanager
def running(the_lab: lab.Lab, name: str) -> Iterator[Side]:
    """Have such a stack, by its name with a login; it is removed at the end with its data."""
    login = name == LOGIN
    project = "e2e-bench-article-login" if login else "e2e-bench-article"
    port = free_port()
    s3 = s3_settings(the_lab, f"s3://mlflow-artifacts/{project}")
    environ = {
        "IMAGE": IMAGE,
        "PORT": str(port),
        "PASSWORD": ADMIN[1],
        "LOGIN": "--app-name basic-auth" if login else "",
        "DESTINATION": s3["ARTIFACTS_DESTINATION"],
        "S3": s3["S3_ENDPOINT_URL"],
        "KEY_ID": s3["S3_ACCESS_KEY_ID"],
        "KEY": s3["S3_SECRET_ACCESS_KEY"],
    }
    given = [f"{key}={value}" for key, value in environ.items()]
    compose = ("env", *given, "docker", "compose", "--project-name", project)
    compose = (*compose, "--file", str(FILES / "compose.yaml"))
    side = Side(
        name=name,
        project=project,
        url=f"http://localhost:{port}",
        root_password="$MYSQL_ROOT_PASSWORD",
        admin=ADMIN if login else None,
    )
    down = (*compose, "down", "--volumes", "--timeout", "10")
    output(*down)
    try:
        output(*compose, "up", "--detach")
        wait_for(side.answers, START_SECONDS, f"{project} answers")
        yield side
    finally:
        output(*down)
