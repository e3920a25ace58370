"""The server with Prometheus and Grafana, as deploy/container/compose.yaml describes them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from compose_spec import PyOptions

from tests.support.paths import ROOT

FOLDER = ROOT / "deploy/container"
GRAFANA = ROOT / "deploy/grafana"
# As an engine reads it, with no variable set.
TEXT = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (FOLDER / "compose.yaml").read_text())
SERVICES = yaml.safe_load(TEXT)["services"]


def mounts(service: str) -> dict[str, str]:
    """Return what is mounted, by the place where the service sees it."""
    pairs = [volume.split(":") for volume in SERVICES[service]["volumes"]]
    return {target: source for source, target, *_ in pairs}


def test_it_is_valid() -> None:
    PyOptions(apply_merge=True).from_yaml(TEXT).validate()


def test_its_check_can_fail() -> None:
    with pytest.raises(ValueError, match="readonly"):
        PyOptions(apply_merge=True).from_yaml(TEXT.replace("read_only", "readonly"))


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_confined_and_reached_from_this_machine_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_needs_is_there(name: str) -> None:
    volumes = yaml.safe_load(TEXT)["volumes"]
    for source in mounts(name).values():
        assert (FOLDER / source).exists() if source.startswith(".") else source in volumes
    assert set(SERVICES[name].get("depends_on", ())) <= set(SERVICES)


def test_prometheus_takes_its_configuration_with_the_rules_and_scrapes_the_server(
    tmp_path: Path,
) -> None:
    seen = mounts("prometheus")
    for name in ("prometheus.yml", "rules.yml"):
        shutil.copy(FOLDER / seen[f"/etc/prometheus/{name}"], tmp_path)
    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True)
    [here] = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    example = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert here["job_name"] == example["scrape_configs"][0]["job_name"]  # the alerts look for it
    [target] = here["static_configs"][0]["targets"]
    assert target.split(":")[0] in SERVICES


def test_grafana_finds_its_prometheus_and_the_dashboard() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    assert source["url"].split("/")[2].split(":")[0] in SERVICES
    provider = yaml.safe_load(
        (GRAFANA / "provisioning/dashboards/resnext-serving.yml").read_text()
    )["providers"][0]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounts("grafana")[home] == "../grafana/resnext-serving.json"
    assert home.startswith(f"{provider['options']['path']}/")
