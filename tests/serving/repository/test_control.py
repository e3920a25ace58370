"""Versions come and go in a server that answers, by its folders and by calls."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from serving.config import ServingConfig
from serving.errors import ModelNotFoundError, RepositoryError, StartupError
from serving.metrics import Metrics
from serving.repository.transitions import Transitions
from serving.server import Server
from tests.support.bundles import spoil, write_bundle
from tests.support.serving import repository_server, until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with tiny/1."""
    write_bundle(tmp_path / "models")
    return tmp_path / "models"


def states(server: Server) -> dict[str, str]:
    return {f"{one.name}/{one.version}": str(one.status) for one in server.control.board.all()}


def reason(server: Server, version: str, name: str = "tiny") -> str:
    state = server.control.board.get(name, version)
    assert state
    return state.reason


def said(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


async def test_a_newer_version_takes_over_and_the_older_one_goes(root: Path) -> None:
    async with repository_server(root) as server:
        assert server.repository.get("tiny", "").version == "1"
        write_bundle(root, version="2")
        await server.control.rescan()
        assert server.repository.get("tiny", "").version == "2"
        await until(lambda: states(server) == {"tiny/1": "idle", "tiny/2": "ready"})
        assert "latest:1" in reason(server, "1")
        with pytest.raises(ModelNotFoundError, match="loaded: 2"):
            server.repository.get("tiny", "1")


async def test_a_version_that_does_not_prove_itself_leaves_all_as_it_was(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with repository_server(root) as server:
        spoil(write_bundle(root, version="2"))
        for _ in range(3):
            await server.control.rescan()
        assert states(server) == {"tiny/1": "ready", "tiny/2": "failed"}
        assert "recorded" in reason(server, "2") or "golden" in reason(server, "2")
        assert server.repository.get("tiny", "").version == "1"
        assert said(caplog, "cannot be served") == 1
        sample = server.metrics.registry.get_sample_value
        labels = {"model": "tiny", "outcome": "failed"}
        assert sample("serving_loads_total", labels) == 1
        state = {"model": "tiny", "version": "2", "state": "failed"}
        assert sample("serving_version_state", state) == 1
        await server.control.rescan(again=True)
        assert sample("serving_loads_total", labels) == 2


async def test_a_mended_version_is_tried_again(root: Path) -> None:
    async with repository_server(root) as server:
        spoil(write_bundle(root, version="2"))
        await server.control.rescan()
        shutil.rmtree(root / "tiny/2")
        write_bundle(root, version="2")
        await server.control.rescan()
        assert server.repository.get("tiny", "").version == "2"


async def test_removing_the_newest_rolls_back(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    write_bundle(root, version="2")
    async with repository_server(root) as server:
        assert states(server) == {"tiny/1": "idle", "tiny/2": "ready"}
        shutil.rmtree(root / "tiny/2")
        await server.control.rescan()
        assert server.repository.get("tiny", "").version == "1"
        await until(lambda: states(server)["tiny/2"] == "idle")
        await server.control.rescan()
        assert states(server) == {"tiny/1": "ready"}
    assert said(caplog, "tiny/1 answers, beside 2") == 1
    assert caplog.messages.index("tiny/1 answers, beside 2") < caplog.messages.index(
        "tiny/2: unloading: its folder is gone"
    )


async def test_a_half_copied_version_is_said_once_and_loaded_when_whole(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write_bundle(tmp_path / "elsewhere", version="2")
    half = root / "tiny/2"
    async with repository_server(root) as server:
        half.mkdir()
        for file in ("bundle.sha256", "manifest.json", "model.onnx"):
            await server.control.rescan()
            assert states(server)["tiny/2"] == "invalid"
            shutil.copy(whole / file, half / file)
        await server.control.rescan()
        assert "missing: golden/" in reason(server, "2")
        assert said(caplog, "passed over") == 1
        shutil.copytree(whole, half, dirs_exist_ok=True)
        await server.control.rescan()
        assert server.repository.get("tiny", "").version == "2"


async def test_a_folder_with_another_name_than_its_manifest_is_refused(root: Path) -> None:
    async with repository_server(root) as server:
        shutil.copytree(root / "tiny/1", root / "tiny/2")
        shutil.copytree(root / "tiny/1", root / "other/1")
        await server.control.rescan()
        assert states(server) == {
            "other/1": "invalid",
            "tiny/1": "ready",
            "tiny/2": "invalid",
        }
        assert "says that it is tiny/1" in reason(server, "2")


async def test_a_version_that_was_renamed_while_it_serves_goes_on(root: Path) -> None:
    async with repository_server(root) as server:
        (root / "tiny/1").rename(root / "tiny/5")
        await server.control.rescan()
        assert states(server) == {"tiny/1": "ready", "tiny/5": "invalid"}


async def test_a_changed_folder_of_a_served_version_changes_nothing(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with repository_server(root) as server:
        model = server.repository.get("tiny", "")
        spoil(root / "tiny/1")
        await server.control.rescan()
        await server.control.rescan()
        assert server.repository.get("tiny", "") is model
        assert said(caplog, "it has changed since it was loaded") == 1


async def test_a_repository_that_vanishes_or_is_empty_changes_nothing(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone, empty = root.with_name("gone"), root.with_name("empty")
    empty.mkdir()
    async with repository_server(root) as server:
        shutil.move(root, gone)
        await server.control.rescan()
        await server.control.rescan()
        assert said(caplog, "all stays as it is") == 1
        shutil.move(empty, root)
        await server.control.rescan()
        assert said(caplog, "it is empty") == 1
        assert states(server) == {"tiny/1": "ready"}
        shutil.rmtree(root)
        shutil.move(gone, root)
        await server.control.rescan()
        assert states(server) == {"tiny/1": "ready"}


async def test_what_is_no_bundle_is_passed_over_or_told(root: Path) -> None:
    (root / "README.md").write_text("models")
    (root / "labels.yaml").write_text("tiny: {}")
    (root / "tiny/notes.txt").write_text("notes")
    (root / ".git/objects").mkdir(parents=True)
    (root / "loop").symlink_to(root / "loop")
    (root / "tiny/2").symlink_to(root / "tiny/2")
    async with repository_server(root) as server:
        assert states(server) == {"tiny/1": "ready", "tiny/2": "invalid"}
        assert "symbolic links" in reason(server, "2")


async def test_all_and_named_versions(root: Path) -> None:
    for version in ("2", "3"):
        write_bundle(root, version=version)
    write_bundle(root, "other")
    async with repository_server(root, version_policy=("tiny=1", "3")) as server:
        assert [f"{m.name}/{m.version}" for m in server.repository.all()] == [
            "other/1",
            "tiny/1",
            "tiny/3",
        ]
    async with repository_server(root, version_policy=("latest:2",)) as server:
        assert server.repository.versions("tiny") == ["2", "3"]
    async with repository_server(root, version_policy=("all",)) as server:
        assert server.repository.versions("tiny") == ["1", "2", "3"]


async def test_at_the_start_an_older_version_stands_in_for_a_broken_one(root: Path) -> None:
    spoil(write_bundle(root, version="2"))
    spoil(write_bundle(root, "other"))
    async with repository_server(root) as server:
        assert states(server) == {"other/1": "failed", "tiny/1": "ready", "tiny/2": "failed"}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"version_policy": ("tiny=1", "7")}, "names tiny=7, but .*tiny holds 1$"),
        ({"version_policy": ("other=1",)}, "names 'other', but .* holds tiny$"),
        ({"load_model": ("other",), "model_control": "explicit"}, "--load-model names 'other'"),
    ],
)
async def test_settings_that_name_what_is_not_there(
    root: Path, settings: dict[str, object], complaint: str
) -> None:
    (root / "tiny/checkpoint").mkdir()
    (root / "weights/old").mkdir(parents=True)
    with pytest.raises(StartupError, match=complaint):
        async with repository_server(root, **settings):
            pass


async def test_nothing_to_serve_is_an_error_that_says_what_is_wrong(root: Path) -> None:
    spoil(root / "tiny/1")
    with pytest.raises(StartupError, match=r"nothing that can be served:\n  tiny/1: "):
        async with repository_server(root):
            pass
    with pytest.raises(StartupError, match="cannot be read: No such file"):
        async with repository_server(root / "nowhere"):
            pass


async def test_two_folders_alike_are_refused_at_the_start_and_passed_over_later(
    root: Path, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StartupError, match="are both tiny/1"):
        async with repository_server(root, model=[tiny]):
            pass
    (root / "tiny/1").rename(root.with_name("aside"))
    async with repository_server(root, model=[tiny]) as server:
        root.with_name("aside").rename(root / "tiny/1")
        await server.control.rescan()
        await server.control.rescan()
        assert server.repository.get("tiny", "").bundle.path == tiny
        assert said(caplog, "it is passed over") == 1
        write_bundle(root, version="2")
        await server.control.rescan()
        assert server.repository.versions("tiny") == ["1", "2"]


async def test_a_model_of_a_removed_folder_goes(root: Path) -> None:
    write_bundle(root, "other")
    async with repository_server(root) as server:
        shutil.rmtree(root / "other")
        await server.control.rescan()
        assert "other" not in server.repository
        await until(lambda: len(server.control.models()) == 1)
        await server.control.rescan()
        assert series(server, "tiny") > series(server, "other")
        assert series(server, "other") == 2  # of serving_loads: the total, and since when


def series(server: Server, name: str) -> int:
    return generate_latest(server.metrics.registry).decode().count(f'{{model="{name}"')


async def test_calls_load_and_unload(root: Path) -> None:
    write_bundle(root, version="2")
    async with repository_server(root, model_control="explicit") as server:
        control = server.control
        assert states(server) == {"tiny/1": "idle", "tiny/2": "idle"}
        await control.load("tiny")
        assert server.repository.versions("tiny") == ["2"]
        await control.load("tiny", "1")
        assert server.repository.versions("tiny") == ["1", "2"]
        await control.unload("tiny", "2")
        assert server.repository.get("tiny", "").version == "1"
        await control.unload("tiny")
        assert states(server) == {"tiny/1": "idle", "tiny/2": "idle"}
        await control.unload("tiny")  # as it is already
        spoil(write_bundle(root, version="3"))
        (root / "tiny/checkpoint").mkdir()
        (root / "weights/old").mkdir(parents=True)
        await control.load("tiny", "1")
        with pytest.raises(RepositoryError, match=r"^tiny/3 is not loaded: .*; tiny/1 answers$"):
            await control.load("tiny", "3")
        with pytest.raises(RepositoryError, match=r"tiny/3 is not loaded: .*; tiny/2 answers$"):
            await control.load("tiny")
        assert server.repository.get("tiny", "").version == "2"  # the newest that proves itself
        with pytest.raises(ModelNotFoundError, match=r"has no version '9'; it holds 1, 2, 3$"):
            await control.load("tiny", "9")
        with pytest.raises(ModelNotFoundError, match=r"has no 'other'; it holds tiny$"):
            await control.load("other")
        with pytest.raises(ModelNotFoundError, match="no 'other' to unload"):
            await control.unload("other")


async def test_a_labelled_version_that_fails_is_told_beside_what_answers(root: Path) -> None:
    spoil(write_bundle(root, version="2"))
    write_bundle(root, version="3")
    (root / "tiny/rollout.yaml").write_text("canary: 2\nstable: 1\n")
    async with repository_server(root, model_control="explicit") as server:
        told = r"^tiny/2 is not loaded: .*; tiny/1, tiny/3 answer$"
        with pytest.raises(RepositoryError, match=told):
            await server.control.load("tiny")
        assert server.repository.versions("tiny") == ["1", "3"]


async def test_names_that_are_asked_for_at_the_start(root: Path) -> None:
    write_bundle(root, "other")
    settings = {"model_control": "explicit", "load_model": ("other",)}
    async with repository_server(root, **settings) as server:
        assert [model.name for model in server.repository.all()] == ["other"]


async def test_calls_are_refused_where_folders_decide(root: Path, tiny: Path) -> None:
    async with repository_server(root, model_control="poll") as server:
        with pytest.raises(RepositoryError, match="--model-control poll the folders"):
            await server.control.unload("tiny")
    async with repository_server(root, repository=None, model=[tiny]) as server:
        with pytest.raises(RepositoryError, match="start it with --repository"):
            await server.control.load("tiny")


async def test_a_load_whose_caller_leaves_is_done(root: Path) -> None:
    async with repository_server(root, model_control="explicit") as server:
        call = asyncio.create_task(server.control.load("tiny"))
        await until(lambda: states(server)["tiny/1"] == "loading")
        call.cancel()
        await until(lambda: "tiny" in server.repository)


async def test_a_start_with_nothing_says_so(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[str] = []
    monkeypatch.setattr("serving.server.announce", announced.append)
    async with repository_server(root, model_control="explicit"):
        assert said(caplog, "nothing is served yet") == 1
        assert "-m clients models list --address" in announced[0]
        assert "classify" not in announced[0]
    caplog.clear()
    async with repository_server(root, model_control="explicit", load_model=("tiny",)):
        assert said(caplog, "nothing is served yet") == 0


async def test_what_a_model_raises_as_it_ends_with_the_server_is_logged(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = asyncio.Event()

    async def close() -> None:
        closing.set()

    async def fail(*_: object) -> None:
        await closing.wait()
        raise RuntimeError("the device is on fire")

    async with repository_server(root, model_control="explicit", load_model=("tiny",)) as server:
        [model] = server.control.models()
        monkeypatch.setattr(server.control.transitions, "retire", fail)
        monkeypatch.setattr(server.control.rollouts, "close", close)
        server.control._versions.end(model, "the test says so")
    [line] = [one for one in caplog.records if "did not end" in one.getMessage()]
    assert line.exc_info
    assert "on fire" in str(line.exc_info[1])
    model.close()


async def test_names_that_cannot_be_shown_are_told_and_passed_over(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with repository_server(root) as server:
        for name in (b"tiny/\xff\xfe", b"\xff/1", b"tiny/\x1b[31m", b"a\nb/1"):
            (root / os.fsdecode(name)).mkdir(parents=True)
        for _ in range(2):
            await server.control.rescan()
        assert states(server) == {"tiny/1": "ready"}
        assert generate_latest(server.metrics.registry)
        assert said(caplog, "its name cannot be shown") == 4


async def test_a_file_whose_name_is_no_text_is_told_of(root: Path) -> None:
    async with repository_server(root) as server:
        write_bundle(root, version="2")
        (root / "tiny/2" / os.fsdecode(b"\xff")).touch()
        await server.control.rescan()
        assert reason(server, "2").endswith("not sealed: \\udcff")


async def test_a_machine_without_more_threads_is_named(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("serving.repository.transitions.in_thread", refuse)
    config = ServingConfig.model_validate({"model": [tiny]})
    transitions = Transitions(config, Metrics(CollectorRegistry()), lambda: True)
    with pytest.raises(StartupError, match="not enough memory or threads: can't start new thread"):
        async with transitions.opened(tiny):
            pass
