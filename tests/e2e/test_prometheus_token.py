"""A real Prometheus scrapes a server that asks who calls, with a token in a file."""

from pathlib import Path

import yaml

from serving.access.tokens import line, new_token
from tests.support.paths import ROOT, SHIPPED
from tests.support.process import serve
from tests.support.prometheus import prometheus


def test_prometheus_shows_a_token(tmp_path: Path) -> None:
    good, tokens = new_token(), tmp_path / "tokens"
    tokens.write_text(line("prometheus", good, "read"))
    tokens.chmod(0o600)
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = []
    [scrape] = config["scrape_configs"]
    with serve(SHIPPED, "--token-file", str(tokens)) as server:
        targets = [{"targets": [server.http.removeprefix("http://")]}]
        config["scrape_configs"] = []
        for job, token in {"known": good, "unknown": new_token()}.items():
            (tmp_path / job).write_text(f"{token}\n")
            authorization = {"type": "Bearer", "credentials_file": str(tmp_path / job)}
            config["scrape_configs"].append(
                scrape
                | {"job_name": job, "static_configs": targets, "authorization": authorization}
            )
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        with prometheus(tmp_path / "prometheus.yml", tmp_path / "data") as api:
            assert api.until('up{job="known"} == 1')
            assert api.until('up{job="unknown"} == 0')
            refused = 'serving_access_refusals_total{reason="unknown"} > 0'
            [series] = api.until(refused)
            assert series["metric"]["job"] == "known"
