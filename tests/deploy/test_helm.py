"""The Helm chart: what it renders is valid, fits together, and is what our server takes."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from serving.backends.devices import parse_devices
from serving.config import ServingConfig
from serving.settings.types import flag
from tests.deploy.chart import (
    BIN,
    CHART,
    VALUES,
    Object,
    containers,
    helm,
    objects,
    of_kind,
    pod,
    rendered,
    server,
)
from tests.support.paths import ROOT

SCHEMAS = Path(__file__).with_name("schemas")
DEFAULT = CHART / "values.yaml"


@pytest.fixture(params=VALUES, ids=lambda path: path.stem)
def values(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_helm_finds_nothing_to_say(values: Path) -> None:
    done = helm("lint", "--strict", "--quiet", CHART, "--values", values)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def validated(path: Path) -> "subprocess.CompletedProcess[str]":
    command = [BIN / "kubernetes-validate", "--strict", "--kubernetes-version", "1.37", path]
    return subprocess.run(command, text=True, capture_output=True, check=False)


def test_every_object_is_one_of_kubernetes(values: Path, tmp_path: Path) -> None:
    """Or of a kind that Kubernetes has from others, of which we know what we use."""
    file = tmp_path / "rendered.yaml"
    file.write_text(rendered(values))
    done = validated(file)
    assert done.returncode == 0, done.stdout
    for one in objects(values):
        name = f"{one['kind']}/{one['metadata']['name']}".lower()
        schema = SCHEMAS / f"{one['kind'].lower()}.json"
        if schema.exists():
            jsonschema_rs.validator_for(json.loads(schema.read_text())).validate(one["spec"])
        else:
            assert f"passed for resource {name} against" in done.stdout


def test_those_checks_can_fail(tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(rendered(DEFAULT).replace("readOnlyRootFilesystem", "readOnlyRoot"))
    done = validated(file)
    assert done.returncode != 0
    assert "readOnlyRoot" in done.stdout
    [scaled] = of_kind("ScaledObject", CHART / "values-keda.yaml")
    scaled["spec"]["triggers"][0]["metadata"]["treshold"] = "1"
    schema = json.loads((SCHEMAS / "scaledobject.json").read_text())
    with pytest.raises(jsonschema_rs.ValidationError, match="treshold"):
        jsonschema_rs.validator_for(schema).validate(scaled["spec"])


def test_together_the_files_render_every_template() -> None:
    named = {
        line for path in VALUES for line in rendered(path).splitlines() if line.startswith("# Sour")
    }
    templates = {path.name for path in (CHART / "templates").glob("*.yaml")}
    assert {line.rpartition("/")[2] for line in named} == templates


def config(container: Object) -> ServingConfig:
    """Return the settings that a server would have in this container."""
    variables = {
        one["name"].removeprefix("SERVING_").lower(): one["value"]
        for one in container.get("env", ())
        if one["name"].startswith("SERVING_")
    }
    return ServingConfig(_cli_parse_args=container["args"], **variables)


def test_the_server_takes_its_flags(values: Path) -> None:
    spec, container = pod(values), server(values)
    stated = config(container)
    assert stated.max_connection_age_s == 300
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": stated.grpc_port, "http": stated.http_port}
    assert {device.kind for device in parse_devices(stated.device)} < {"cpu", "cuda", "ascend"}
    # Whatever a server still does after SIGTERM has ended by then.
    needed_s = stated.shutdown_delay_s + stated.grace_period_s + 1
    assert needed_s < spec["terminationGracePeriodSeconds"] <= needed_s + 5


def test_what_the_server_is_told_to_read_is_mounted(values: Path) -> None:
    spec, container = pod(values), server(values)
    stated = config(container)
    volumes = {volume["name"] for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) <= volumes
    wanted = [*stated.model, stated.repository, stated.cache_dir, stated.token_file]
    wanted += [stated.tls_cert, stated.tls_key, stated.tls_client_ca]
    for path in filter(None, wanted):
        assert any(path.is_relative_to(mount) for mount in mounts), path
    read_only = {m["mountPath"] for m in container["volumeMounts"] if m.get("readOnly")}
    assert set(mounts) - read_only <= {"/cache", "/tmp", "/dev/shm"}
    assert not any("subPath" in mount for mount in container["volumeMounts"])  # never exchanged


def test_pods_may_do_little(values: Path) -> None:
    spec = pod(values)
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(spec):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_devices_are_asked_for_where_they_are_used(values: Path) -> None:
    container = server(values)
    limits = container["resources"]["limits"]
    # Kubernetes gives no more of a device than is requested; and whole CPUs without sharing.
    assert limits == container["resources"]["requests"]
    wanted = {"cuda": "nvidia.com/gpu", "ascend": "huawei.com/Ascend910", "cpu": None}
    devices = {name for name in limits if "/" in name}
    assert devices == {wanted[config(container).device]} - {None}


def test_what_selects_pods_finds_them(values: Path) -> None:
    [deployment] = of_kind("Deployment", values)
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    [budget] = of_kind("PodDisruptionBudget", values)
    [policy] = of_kind("NetworkPolicy", values)
    services = of_kind("Service", values)
    selectors = [one["spec"]["selector"] for one in services]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in (deployment, budget)]
    selectors.append(policy["spec"]["podSelector"]["matchLabels"])
    assert all(selector and selector.items() <= labels for selector in selectors)
    # Prometheus must not see a pod twice.
    for monitor in of_kind("ServiceMonitor", values):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [found] = [one for one in services if wanted <= one["metadata"]["labels"].items()]
        assert found["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "resnext-serving"
        ports = {port["name"] for port in found["spec"]["ports"]}
        assert {end["port"] for end in monitor["spec"]["endpoints"]} <= ports


def test_services_say_what_is_spoken(values: Path) -> None:
    both, headless = of_kind("Service", values)
    assert headless["spec"]["clusterIP"] == "None"
    spoken = {
        port["name"]: port["appProtocol"]
        for service in (both, headless)
        for port in service["spec"]["ports"]
    }
    is_tls = bool(config(server(values)).tls_files)
    plain = {"grpc": "kubernetes.io/h2c", "http": "http"}
    assert spoken == (dict.fromkeys(plain, "https") if is_tls else plain)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["replicas=-1"], "at '/replicas': minimum: got -1, want 0"),
        (["replica=3"], "additional properties 'replica' not allowed"),
        (["autoscaling.type=vpa"], "at '/autoscaling/type': value must be one of 'none', 'hpa'"),
        (["device=gpu"], "at '/device': 'gpu' does not match pattern"),
        (["shutdown.delaySeconds=5s"], "at '/shutdown/delaySeconds': got string, want integer"),
        (["models.repository=/data"], "at '/models/repository': '/data' does not match pattern"),
        (["extraArgs[0]=port"], "at '/extraArgs/0': 'port' does not match pattern"),
        (["networkPolicy.from=null"], "at '/networkPolicy': missing property 'from'"),
        (["insecure=false"], "whoever reaches the pods could read and call: set tls.secretName"),
        (["insecure=false", "tls.secretName=x"], "whoever reaches the pods could read and call"),
        (["tokens.secretName=x"], "tokens would cross the network in the clear"),
        (["tls.clientCaSecretName=x"], "tls.clientCaSecretName needs tls.secretName"),
        (
            ["tls.secretName=x", "tls.clientCaSecretName=x"],
            "tls.clientCaSecretName needs tls.probeSecretName",
        ),
        (["models.repository="], "there is nothing to serve: set models.repository or"),
        (["autoscaling.min=11"], "autoscaling.min is 11, autoscaling.max only 10"),
    ],
)
def test_a_wrong_value_is_named(flags: list[str], said: str) -> None:
    words = [word for one in flags for word in ("--set", one)]
    done = helm("template", "web", CHART, *words)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_a_volume_of_another_kind_takes_the_place_of_the_claim() -> None:
    spec = pod(DEFAULT, "--set", "models.volume.hostPath.path=/srv/models")
    assert spec["volumes"][0] == {"name": "models", "hostPath": {"path": "/srv/models"}}


def test_an_autoscaler_alone_says_how_many(values: Path) -> None:
    [deployment] = of_kind("Deployment", values)
    scaled = [*of_kind("HorizontalPodAutoscaler", values), *of_kind("ScaledObject", values)]
    assert ("replicas" in deployment["spec"]) == (not scaled)
    for one in scaled:
        assert one["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_notes_say_where_it_answers_and_who_may_call() -> None:
    notes = helm("install", "web", CHART, "--dry-run=client").stdout.partition("NOTES:")[2]
    assert "web-resnext-serving-headless.default.svc:50051" in notes
    assert "whoever reaches the pods may read and call" in " ".join(notes.split())


def test_names_that_are_too_long_are_cut() -> None:
    names = [
        one["metadata"]["name"] for one in objects(DEFAULT, "--set", f"fullnameOverride={'x' * 80}")
    ]
    assert all(len(name) <= 63 for name in names)


def test_versions_are_those_of_the_project() -> None:
    stated = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (stated["name"], stated["appVersion"]) == (project["name"], project["version"])


def test_the_schema_knows_every_choice_of_the_server() -> None:
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]
    fields = ServingConfig.model_fields
    for name, chosen in {
        "runtime": properties["runtime"],
        "precision": properties["precision"],
        "model_control": properties["models"]["properties"]["control"],
    }.items():
        known = set(re.findall(r"'([\w-]+)'", str(fields[name].annotation)))
        assert set(chosen["enum"]) - {""} == known, flag(name)
