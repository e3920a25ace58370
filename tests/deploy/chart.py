"""The chart in deploy/helm, rendered by Helm itself."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT

CHART = ROOT / "deploy/helm/resnext-serving"
VALUES = sorted(CHART.glob("values*.yaml"))
BIN = ROOT / ".venv-helm/bin"
Object = dict[str, Any]


def helm(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run Helm, which knows no cluster and asks nobody."""
    assert (BIN / "helm").exists(), "make test makes .venv-helm"
    command = [BIN / "helm", *words]
    return subprocess.run(command, env={"PATH": ""}, text=True, capture_output=True, check=False)


@cache
def rendered(values: Path, *flags: str) -> str:
    """Return what Helm would install under the name `web`, with a file of values."""
    done = helm("template", "web", CHART, "--namespace", "shop", "--values", values, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def objects(values: Path, *flags: str) -> list[Object]:
    """Return the same as objects."""
    return [*filter(None, yaml.safe_load_all(rendered(values, *flags)))]


def of_kind(kind: str, values: Path, *flags: str) -> list[Object]:
    """Return those of a kind."""
    return [one for one in objects(values, *flags) if one["kind"] == kind]


def pod(values: Path, *flags: str) -> Object:
    """Return the spec of its pods."""
    [deployment] = of_kind("Deployment", values, *flags)
    spec: Object = deployment["spec"]["template"]["spec"]
    return spec


def server(values: Path, *flags: str) -> Object:
    """Return the server's container."""
    [container] = pod(values, *flags)["containers"]
    return dict(container)


def containers(spec: Object) -> Iterator[Object]:
    """Yield all containers of a pod."""
    yield from spec.get("initContainers", [])
    yield from spec["containers"]
