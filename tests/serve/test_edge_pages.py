"""The lines of tls.md and edge.md in docs/how-to, in their order, and what they name."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.conformance import seal
from support.pages import page
from support.real_nginx import NGINX, WHY
from support.servers import Server
from support.tls import Authority

from seatrial_serve.http import tls
from seatrial_serve.http.cors import KEPT_S
from seatrial_serve.metrics import names
from seatrial_serve.settings import PREFIX, Settings

TLS, EDGE = page("how-to/tls.md"), page("how-to/edge.md")
CONFIGS = re.findall(r"```yaml\n(.*?)```", TLS, re.DOTALL)


def lines_of(text: str) -> list[list[str]]:
    return [
        block.strip().splitlines() for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    ]


def test_the_pages_name_settings_metrics_and_bounds_that_there_are() -> None:
    flags = set(re.findall(r"`?--(tls-[a-z-]+|cors-[a-z-]+|trusted-[a-z-]+)", TLS + EDGE))
    assert {flag.replace("-", "_") for flag in flags} == {
        name for name in Settings.model_fields if name.startswith(("tls_", "cors_", "trusted_"))
    }
    for name in (names.CERTIFICATE_EXPIRY, names.CERTIFICATE_RELOADS):
        assert f"`{name}`" in TLS
    assert f"has {tls.HANDSHAKE_S:g} s" in TLS
    assert f"at most {tls.MOST_HANDSHAKES:,} at once" in TLS
    assert (tls.CLIENT_SHARE, KEPT_S) == (4, 600)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here: apt-get install curl")
def test_the_lines_of_both_pages_work(
    tmp_path: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(tmp_path / "bundles")
    monkeypatch.chdir(tmp_path)
    server: Server | None = None
    said = []
    for line in [line for block in (*lines_of(TLS), *lines_of(EDGE)) for line in block]:
        words = shlex.split(line)
        if words[0] == "seatrial":
            assert words[1] == "serve"
            if server is not None:
                server.stop()
            context = Authority.trusting("cert.pem", "client") if "--tls-cert" in words else None
            server = serve(*words[2:], context=context)
            assert server.wait_until_loaded()[0] == 200
        else:
            if server is not None:
                http, metrics = server.url.rpartition(":")[2], server.metrics_url
                line = line.replace(":8000", f":{http}").replace("churn", "conformance")
                line = line.replace(":8002/", f":{metrics.rpartition(':')[2].partition('/')[0]}/")
            done = subprocess.run(
                ["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            said.append(done.stdout)
    answers = [text for text in said if text]
    assert json.loads(answers[0])["ready"] is True
    assert names.CERTIFICATE_EXPIRY in answers[1]
    assert json.loads(answers[2])["ready"] is True
    assert answers[3].startswith("HTTP/1.1 204")
    assert "access-control-allow-origin: https://app.example.org" in answers[3]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_configuration_of_the_page(tmp_path: Path) -> None:
    Authority(tmp_path, "cert")
    (tmp_path / "prometheus.yml").write_text(CONFIGS[0])
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_patch_for_kubernetes_fits_the_deployment_that_is_written() -> None:
    kits = Path(__file__).parents[2] / "deploy" / "kubernetes"
    written = yaml.safe_load(next(kits.glob("*/base/deployment.yaml")).read_text("utf-8"))
    (container,) = written["spec"]["template"]["spec"]["containers"]
    patch = yaml.safe_load(CONFIGS[1])["spec"]["template"]["spec"]
    (patched,) = patch["containers"]
    assert patched["name"] == container["name"]
    for variable in patched["env"]:
        assert variable["name"].removeprefix(PREFIX).lower() in Settings.model_fields
        folder, _, _ = variable["value"].rpartition("/")
        assert folder == patched["volumeMounts"][0]["mountPath"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe].keys() >= {"httpGet"}
        assert patched[probe] == {"httpGet": {"scheme": "HTTPS"}}
    assert patch["volumes"][0]["name"] == patched["volumeMounts"][0]["name"]


@pytest.mark.skipif(NGINX is None, reason=WHY)
def test_nginx_takes_the_lines_of_the_page(tmp_path: Path) -> None:
    (location,) = re.findall(r"```nginx\n(.*?)```", EDGE, re.DOTALL)
    temporary = " ".join(
        f"{name}_temp_path {tmp_path}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:18999; {location} }} }}"
    )
    done = subprocess.run(
        [str(NGINX), "-t", "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
