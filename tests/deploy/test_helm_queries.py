"""What KEDA asks Prometheus, asked of a real Prometheus that scrapes a real server."""

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import yaml

from clients import ClassifierClient
from tests.deploy.chart import CHART, of_kind
from tests.support.paths import SAMPLES, SHIPPED
from tests.support.process import Server, metric, serve
from tests.support.prometheus import Prometheus, prometheus

VALUES = CHART / "values-keda.yaml"
QUERIES = {
    trigger["name"]: trigger["metadata"]["query"]
    for [scaled] in [of_kind("ScaledObject", VALUES)]
    for trigger in scaled["spec"]["triggers"]
}
IMAGE = SAMPLES / "sneaker_9.png"


@pytest.fixture(scope="module")
def scraped() -> Iterator[Server]:
    with serve(
        SHIPPED, "--instances", "1", "--buckets", "1", "--max-inflight-images", "128"
    ) as one:
        yield one


@pytest.fixture(scope="module")
def scraping(scraped: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus, which gives series the labels that the ServiceMonitor has it give them."""
    [monitor] = of_kind("ServiceMonitor", VALUES)
    [end] = monitor["spec"]["endpoints"]
    labels = {"namespace": "shop", "service": "web-resnext-serving"}
    job = {
        "job_name": "web",
        "metrics_path": end["path"],
        "scrape_interval": "500ms",
        "static_configs": [
            {"targets": [scraped.http.removeprefix("http://")], "labels": labels},
        ],
    }
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    with prometheus(folder / "prometheus.yml", folder / "data") as api:
        yield api


def test_queries_are_such_for_prometheus(tmp_path: Path) -> None:
    rules = [{"record": f"r{i}", "expr": query} for i, query in enumerate(QUERIES.values())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_metrics_are_those_of_the_server(scraping: Prometheus) -> None:
    [scaler] = of_kind("HorizontalPodAutoscaler", CHART / "values-hpa.yaml")
    names = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]}
    names |= {name for query in QUERIES.values() for name in re.findall(r"serving_\w+", query)}
    assert len(names) == 6, names
    for name in names:
        assert scraping.until(name), name


def value(api: Prometheus, query: str) -> float:
    [series] = api.until(query)
    return float(series["value"][1])  # type: ignore[index]


def test_they_rise_with_the_load(scraped: Server, scraping: Prometheus) -> None:
    assert {value(scraping, query) for query in QUERIES.values()} == {0}
    with ClassifierClient(scraped.grpc) as client:
        client.classify([IMAGE] * 64)
        assert value(scraping, f"({QUERIES['queue-seconds']}) > 0") > 0
        assert value(scraping, QUERIES["refused-share"]) == 0


def test_without_a_pod_there_is_no_value(scraping: Prometheus) -> None:
    """KEDA takes that for an error, and scales nothing, rather than for a queue that is empty."""
    scraping.until("serving_ready")
    for query in QUERIES.values():
        assert scraping.query(query.replace("web-resnext-serving", "another")) == []


def test_a_refusal_counts(scraped: Server, scraping: Prometheus) -> None:
    """Of requests that fill the server all but one are refused, and tried again by the client."""
    with ClassifierClient(scraped.grpc) as client, ThreadPoolExecutor(8) as callers:
        while not metric(scraped, 'serving_rejections_total{.*reason="queue_full".*}'):
            wait([callers.submit(client.classify, [IMAGE] * 64, timeout_s=2) for _ in range(8)])
        assert value(scraping, f"({QUERIES['refused-share']}) > 0") > 0
