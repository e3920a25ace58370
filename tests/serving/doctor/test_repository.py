"""A repository: what its policy and its labels ask for is loaded, and nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving.doctor import versions
from serving.doctor.config import DoctorConfig
from serving.doctor.finding import Case, Finding
from serving.doctor.load import Failed, Loaded
from serving.doctor.repository import check
from tests.serving.doctor.conftest import loaded
from tests.support.bundles import write_bundle
from tests.support.paths import ROOT

BROKEN = "broken"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose folders only look like bundles; one that holds `broken` is not loaded."""

    def load(path: Path, config: object) -> Loaded | Failed:
        if (path / BROKEN).exists():
            return Failed(path, "it is broken", "mend it", [])
        return loaded(path=path, name=path.parent.name, version=path.name)

    monkeypatch.setattr(versions, "load", load)
    return tmp_path / "models"


def put(root: Path, *names: str, lacks: tuple[str, ...] = (), broken: tuple[str, ...] = ()) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        for file in ("manifest.json", "bundle.sha256"):
            (root / name / file).touch()
    for name in lacks:
        (root / name / "bundle.sha256").unlink()
    for name in broken:
        (root / name / BROKEN).touch()


def case(root: Path, **settings: object) -> Case:
    return Case(DoctorConfig.model_validate({"repository": root, **settings}))


def tried(of: Case) -> list[str]:
    return [f"{load.path.parent.name}/{load.path.name}" for load in of.loads]


def worst(of: Case) -> Finding:
    *others, last = check(of)
    return next((finding for finding in others if finding.status != "ok"), last)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["a/10", "b/1"]),
        ({"version_policy": "latest:2"}, ["a/10", "a/9", "b/1"]),
        ({"version_policy": "all"}, ["a/10", "a/9", "a/1", "b/1"]),
        ({"version_policy": "a=1,9"}, ["a/9", "a/1", "b/1"]),
        ({"model_control": "explicit"}, []),
        ({"model_control": "explicit", "load_model": "b"}, ["b/1"]),
        ({"model": ["elsewhere/c/1"]}, ["c/1", "a/10", "b/1"]),
    ],
)
def test_what_is_asked_for_is_loaded(
    settings: dict[str, object], expected: list[str], root: Path
) -> None:
    put(root, "a/1", "a/9", "a/10", "b/1")
    (root / "readme.txt").touch()
    of = case(root, **settings)
    assert tried(of) == expected
    assert worst(of) == Finding("ok", f"{root}: models: 2, versions: 4")


def test_an_older_version_is_tried_for_one_that_fails(root: Path) -> None:
    put(root, "a/1", "a/2", "a/3", broken=("a/3",))
    of = case(root)
    assert tried(of) == ["a/3", "a/2"]
    assert len(of.loaded) == 1


def test_labels_ask_for_versions_too(root: Path) -> None:
    put(root, "a/1", "a/2", "a/3")
    (root / "a/rollout.yaml").write_text("stable: 1\ncanary: {version: 3, share: 10%}\n")
    of = case(root)
    assert tried(of) == ["a/3", "a/1"]
    assert worst(of).status == "ok"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("stable: 7\n", "rollout.yaml:1: stable: version 7 cannot be loaded"),
        ("x: 2\nstable: 1\n", "rollout.yaml:2: stable: version 1 cannot be loaded"),
        ("2: 2\n", "rollout.yaml:1: "),
        ("stable: [\n", "rollout.yaml:"),
    ],
)
def test_labels_that_cannot_hold_fail(text: str, found: str, root: Path) -> None:
    put(root, "a/1", "a/2", broken=("a/1",))
    (root / "a/rollout.yaml").write_text(text)
    finding = worst(case(root))
    assert finding.status == "fail"
    assert found in finding.found


def test_what_is_not_whole_is_passed_over_unless_it_is_named(root: Path) -> None:
    put(root, "a/1", "a/2", lacks=("a/2",))
    of = case(root)
    assert tried(of) == ["a/1"]
    finding = worst(of)
    assert finding.status == "warn"
    assert f"{root}/a/2 is passed over: it holds no bundle.sha256" in finding.found
    assert worst(case(root, version_policy="a=2")).status == "fail"


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"version_policy": "b=1"}, "--version-policy names 'b', but"),
        ({"version_policy": "a=2"}, "--version-policy names a=2, but"),
        ({"model_control": "explicit", "load_model": "b"}, "--load-model names 'b', but"),
    ],
)
def test_settings_that_name_what_is_not_there_fail(
    settings: dict[str, object], found: str, root: Path
) -> None:
    put(root, "a/1")
    finding = worst(case(root, **settings))
    assert finding.status == "fail"
    assert finding.found.startswith(found)


def test_a_repository_that_is_not_there_or_empty_fails(root: Path) -> None:
    of = case(root)
    assert of.loads == []
    assert worst(of).found == f"--repository {root} cannot be read: No such file or directory"
    root.mkdir()
    assert worst(case(root)).found == f"--repository {root} holds nothing that can be served"
    assert worst(case(root, model_control="explicit")).status == "ok"


def test_a_bundle_in_the_folder_of_another_fails(tmp_path: Path, tiny: Path) -> None:
    shutil.copytree(tiny, tmp_path / "other/1")
    [load] = case(tmp_path, tuned="off").loads
    assert isinstance(load, Failed)
    assert load.reason == "its manifest says that it is tiny/1"


@pytest.mark.slow
def test_a_real_repository(tmp_path: Path) -> None:
    for version in ("1", "2"):
        write_bundle(tmp_path, version=version)
    (tmp_path / "tiny/rollout.yaml").write_text("stable: 1\n")
    ports = ["--grpc-port", "0", "--http-port", "0"]
    command = [sys.executable, "-m", "serving", "doctor", "--repository", str(tmp_path), *ports]
    done = subprocess.run([*command, "--json"], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout
    told = [line["found"] for line in json.loads(done.stdout) if line["check"] == "models"]
    assert [f"tiny/{version}" in found for version, found in zip("21", told, strict=True)]
