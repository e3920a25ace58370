"""A real Prometheus scrapes a real server under load, with the rules and the dashboard we ship."""

import json
import threading
from collections.abc import Iterator

import pytest
import yaml

from clients import ClassifierClient
from tests.support.paths import ROOT, SAMPLES
from tests.support.process import Server
from tests.support.prometheus import Prometheus, prometheus

DEPLOY = ROOT / "deploy"
IMAGE = SAMPLES / "sneaker_9.png"
OURS = 'model="fashion_resnext"'


@pytest.fixture(scope="module")
def busy_server(shipped_server: Server) -> Iterator[Server]:
    """The server, asked again and again until the tests end."""
    over = threading.Event()

    def ask() -> None:
        with ClassifierClient(shipped_server.grpc) as client:
            while not over.wait(0.02):
                client.classify([IMAGE] * 3)

    caller = threading.Thread(target=ask)
    caller.start()
    yield shipped_server
    over.set()
    caller.join()


@pytest.fixture(scope="module")
def scraping(busy_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with the shipped configuration, in a hurry."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(DEPLOY / "prometheus/rules.yml")]
    address = busy_server.http.removeprefix("http://")
    config["scrape_configs"][0]["static_configs"] = [{"targets": [address]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with prometheus(folder / "prometheus.yml", folder / "data") as api:
        api.until(f"model:serving_images:rate1m{{{OURS}}} > 0")
        yield api


def expressions() -> list[tuple[str, str]]:
    """Return title and query of each of the dashboard's targets, its variables filled in."""
    dashboard = json.loads((DEPLOY / "grafana/resnext-serving.json").read_text())
    return [
        (panel["title"], _filled(target["expr"]))
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


def _filled(expression: str) -> str:
    return expression.replace("$__rate_interval", "10s").replace("$model", ".*")


def test_throughput_is_answered(scraping: Prometheus) -> None:
    [*series] = scraping.until(f'rate(serving_images_total{{outcome="ok", {OURS}}}[10s]) > 0')
    assert len(series) == 1
    [*outcomes] = scraping.query(f"rate(serving_images_total{{{OURS}}}[10s])")
    assert {"ok", "invalid", "expired", "cancelled", "rejected", "failed"} == {
        outcome["metric"]["outcome"] for outcome in outcomes
    }


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_every_query_of_the_dashboard_is_answered(
    scraping: Prometheus, title: str, expression: str
) -> None:
    assert scraping.until(expression)


def test_every_recording_rule_is_evaluated(scraping: Prometheus) -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"]
    names = [rule["record"] for group in groups for rule in group["rules"] if "record" in rule]
    for name in names:
        assert scraping.until(name)


def test_no_alert_is_raised_for_a_healthy_server(scraping: Prometheus) -> None:
    assert scraping.query('ALERTS{alertstate="firing"}') == []


def test_the_dashboard_has_a_place_for_everything() -> None:
    panels = json.loads((DEPLOY / "grafana/resnext-serving.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        taken = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, f"{panel['title']} covers another panel"
        cells |= taken
