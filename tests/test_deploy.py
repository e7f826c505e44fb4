"""What is shipped to deploy the service: linted, and in step with its options."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

from tsresformer.commands.serve import serve
from tsresformer.serve.settings import PREFIX, Settings


def test_dockerfile_passes_hadolint_and_is_not_root(project_root: Path) -> None:
    path = project_root / "deploy" / "Dockerfile"
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    text = path.read_text()
    assert re.findall(r"^USER (.*)$", text, re.M) == ["10001:10001"]
    assert "HEALTHCHECK" in text
    known = {option.envvar for option in serve.params}
    assert set(re.findall(PREFIX + "[A-Z_]+", text)) <= known
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M)
    for name in " ".join(copied).split():
        assert (project_root / name).exists(), name


def test_unit_gives_requests_their_time_to_finish(project_root: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(project_root / "deploy" / "ts-resformer.service")
    service = unit["Service"]
    assert service["ExecStart"].endswith("/tsresformer serve")
    assert "-HUP" in service["ExecReload"]
    assert int(service["TimeoutStopSec"]) > Settings().shutdown_s
    assert (service["DynamicUser"], service["NoNewPrivileges"]) == ("yes", "yes")


def test_proxy_takes_what_the_service_takes(project_root: Path) -> None:
    text = (project_root / "deploy" / "nginx.conf").read_text()
    limit = re.search(r"client_max_body_size +(\d+)m;", text)
    assert limit and int(limit[1]) > Settings().upload_mib
    waits = re.search(r"proxy_read_timeout +(\d+)s;", text)
    assert waits and int(waits[1]) > Settings().work_s
