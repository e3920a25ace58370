"""What the chart has Kubernetes do, done to real servers: probes, Secrets that change, a stop."""

import ssl
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509

from clients import AccessError, ClassifierClient
from clients.access import Tls
from tests.deploy.chart import CHART, server
from tests.deploy.pods import Pod, is_serving, running
from tests.support.bundles import write_bundle
from tests.support.certificates import Authority
from tests.support.process import run

PROBES = "startupProbe", "readinessProbe", "livenessProbe"


def mount(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files as the kubelet does for a Secret: all at once, by one link that is exchanged."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"..{time.monotonic_ns()}"
    data.mkdir()
    for name, content in files.items():
        (data / name).write_bytes(content)
        (data / name).chmod(0o440)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(data.name)
    (folder / "..data_tmp").rename(folder / "..data")


def token(name: str) -> tuple[str, bytes]:
    """Return a new token, and its line in the Secret."""
    secret, line = run("serving", "token", name).split("\n")[:2]
    return secret, f"{line}\n".encode()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with a model, and an empty one for caches."""
    root = tmp_path_factory.mktemp("volumes")
    write_bundle(root / "models")
    (root / "cache").mkdir()
    return root


@pytest.mark.parametrize("model", ["", "tiny"])
def test_probes_pass_without_tls_where_the_model_serves(root: Path, model: str) -> None:
    with running(root, server(CHART / "values.yaml", "--set", f"probes.model={model}")) as pod:
        assert [pod.passes(name) for name in PROBES] == [True] * 3
        assert not is_serving(pod.server.grpc, "another model")


def test_probes_pass_with_tls_and_secrets_are_exchanged(root: Path) -> None:
    secrets = root / "etc/resnext-serving"
    authority = Authority()
    before, after = authority.issue(), authority.issue()
    (old, old_line), (new, new_line) = token("old"), token("new")
    mount(secrets / "tls", {"tls.crt": before.certificate, "tls.key": before.key})
    mount(secrets / "tokens", {"tokens": old_line})
    ca = root / "ca.pem"
    ca.write_bytes(authority.certificate)
    with running(root, server(CHART / "values-secure.yaml", "--set", "probes.model=tiny")) as pod:
        assert [pod.passes(name) for name in PROBES] == [True] * 3
        assert shown(pod) == before.serial
        with ClassifierClient(pod.server.grpc, token=old, tls=Tls(ca)) as client:
            assert [model.name for model in client.list_models()] == ["tiny"]

            mount(secrets / "tls", {"tls.crt": after.certificate, "tls.key": after.key})
            mount(secrets / "tokens", {"tokens": new_line})
            # The server looks every second; no event tells of it from outside.
            deadline = time.monotonic() + 60
            while shown(pod) != after.serial or lets_in(client):
                assert time.monotonic() < deadline
        with ClassifierClient(pod.server.grpc, token=new, tls=Tls(ca)) as client:
            assert [model.name for model in client.list_models()] == ["tiny"]
        assert pod.passes("readinessProbe")


def shown(pod: Pod) -> int:
    """Return the serial number of the certificate that gRPC's port shows now."""
    host, _, port = pod.server.grpc.rpartition(":")
    text = ssl.get_server_certificate((host, int(port)))
    return x509.load_pem_x509_certificate(text.encode()).serial_number


def lets_in(client: ClassifierClient) -> bool:
    try:
        client.list_models()
    except AccessError:
        return False
    return True


def test_probes_pass_where_clients_need_a_certificate(root: Path) -> None:
    secrets = root / "etc/resnext-serving"
    authority = Authority()
    for name in ("tls", "probe"):
        pair = authority.issue(name)
        mount(secrets / name, {"tls.crt": pair.certificate, "tls.key": pair.key})
    mount(secrets / "client-ca", {"ca.crt": authority.certificate})
    with running(root, server(CHART / "values-mtls.yaml")) as pod:
        assert [pod.passes(name) for name in PROBES] == [True] * 3
        other = Authority().issue()
        mount(secrets / "probe", {"tls.crt": other.certificate, "tls.key": other.key})
        assert not pod.passes("readinessProbe")
