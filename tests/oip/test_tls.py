"""Clients of others speak TLS: Triton's, and a Prometheus."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.foreign import foreign
from tests.support.paths import ROOT, SHIPPED
from tests.support.process import Server, serve
from tests.support.prometheus import prometheus

FOREIGN = Path(__file__).parent / "foreign"


@dataclass
class Site:
    """A server that asks its clients for certificates, and theirs."""

    server: Server
    ca: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, authority = tmp_path_factory.mktemp("tls"), Authority()
    ca = folder / "ca.pem"
    ca.write_bytes(authority.certificate)
    certificate, key = map(str, authority.issue().write(folder))
    flags = ("--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", str(ca))
    with serve(SHIPPED, *flags) as server:
        yield Site(server, ca, *authority.issue("client").write(folder, "client"))


def test_clients_of_triton_show_certificates(site: Site) -> None:
    done = foreign(
        *("-m", "pytest", "-c", FOREIGN / "pytest.ini", "-p", "no:cacheprovider", "--quiet"),
        FOREIGN / "encrypted.py",
        SERVER_GRPC=site.server.grpc,
        SERVER_HTTP=site.server.http.removeprefix("https://"),
        CA=str(site.ca),
        CERT=str(site.certificate),
        KEY=str(site.key),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_prometheus_shows_a_certificate(site: Site, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = []
    [scrape] = config["scrape_configs"]
    tls = {
        "ca_file": str(site.ca),
        "cert_file": str(site.certificate),
        "key_file": str(site.key),
    }
    targets = [{"targets": [site.server.http.removeprefix("https://")]}]
    scrape |= {"static_configs": targets, "scheme": "https", "tls_config": tls}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    with prometheus(tmp_path / "prometheus.yml", tmp_path / "data") as api:
        assert api.until('up{job="resnext-serving"} == 1')
        [series] = api.until("serving_tls_certificate_expires_timestamp_seconds - time() > 80000")
        assert 80_000 < float(series["value"][1]) < 90_000
