"""The rules of deploy/prometheus, checked and run by Prometheus' own tool."""

import subprocess
from pathlib import Path

import yaml

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy/prometheus"
TESTS = Path(__file__).with_name("rules_test.yml")


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> list[dict[str, object]]:
    groups = yaml.safe_load((DEPLOY / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_example_and_its_rules_are_valid() -> None:
    promtool("check", "config", DEPLOY / "prometheus.yml")


def test_rules_record_and_alert_as_meant() -> None:
    promtool("test", "rules", TESTS)


def test_every_alert_fires_in_those_tests_and_says_what_to_do() -> None:
    fired, explained = TESTS.read_text(), (DEPLOY.parent / "README.md").read_text()
    for alert in alerts():
        assert f'alertname="{alert["alert"]}"' in fired
        assert f"| `{alert['alert']}` |" in explained
        assert ": " in alert["annotations"]["summary"]
        assert alert["labels"]["severity"] in ("warning", "critical")
