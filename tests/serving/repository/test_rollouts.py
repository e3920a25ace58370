"""Labels of versions in real servers: who answers, how labels change, and what may not be."""

import asyncio
import errno
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import grpc
import httpx
import pytest
import pytest_asyncio

from protos import classifier_pb2 as pb
from protos import open_inference_pb2 as oip
from protos.open_inference_pb2_grpc import GRPCInferenceServiceStub
from serving.backends.backend import Backend
from serving.errors import StartupError
from serving.lifecycle import State
from serving.loader import Loader
from serving.repository.rollout_file import RolloutFile
from serving.server import Server
from tests.serving.api.conftest import calling
from tests.serving.api.messages import png
from tests.serving.http.conftest import http_to
from tests.support import bundles
from tests.support.bundles import LABELS, OTHER_WEIGHTS, WEIGHTS, write_bundle
from tests.support.fake_backend import FakeBackend
from tests.support.serving import repository_server, running_server, until

if TYPE_CHECKING:
    from protos.classifier_pb2_grpc import ClassifierAsyncStub

CANARY = "stable: 1\ncanary: {version: 2, share: 50%}\n"
IDS = [f"caller-{number}" for number in range(40)]
PHOTO = png(1).encoded


class Calls(NamedTuple):
    """A server of the model `tiny`, and who calls it."""

    server: Server
    stub: "ClassifierAsyncStub"
    http: httpx.AsyncClient
    rollout: Path

    async def version(self, version: str = "", request_id: str = "") -> str:
        """Return the version that answers a request."""
        request = pb.ClassifyRequest(images=[png(1)], version=version, id=request_id)
        return (await self.stub.Classify(request)).version

    async def of(self, request_id: str) -> dict[str, str]:
        """Return the version that answers a request with this id, by the way it comes."""
        request = pb.ClassifyRequest(images=[png(1)], id=request_id)
        header = (("x-request-id", request_id),)
        response = await self.stub.Classify(pb.ClassifyRequest(images=[png(1)]), metadata=header)
        return {
            "Classify": await self.version(request_id=request_id),
            "Classify, metadata": response.version,
            "ClassifyStream": await self._streamed(request),
            "ModelInfer": await self._inferred("tiny", "", request_id),
            "/v1/classify": await self._posted(request_id),
            "/v2 header": await self._open("/v2/models/tiny/infer", request_id),
            "/v2 id": await self._open_json(request_id),
        }

    async def named(self, version: str) -> dict[str, str]:
        """Return the version that answers a request for this one, by the way it comes."""
        request = pb.ClassifyRequest(images=[png(1)], version=version)
        query, path = f"?version={version}", f"/v2/models/tiny/versions/{version}"
        stated = await self.http.get(path)
        assert stated.status_code == 200
        model = await self.stub.GetModel(pb.GetModelRequest(version=version))
        prediction = await self.http.put(f"/predictions/tiny/{version}", content=PHOTO)
        assert prediction.status_code == 200
        return {
            "Classify": await self.version(version),
            "ClassifyStream": await self._streamed(request),
            "GetModel": model.version,
            "ModelInfer": await self._inferred("tiny", version),
            "ModelInfer of pixels": await self._inferred("tiny_pixels", version),
            "/v1/classify": await self._posted(query=query),
            "/v2": await self._open(f"{path}/infer"),
        }

    async def _streamed(self, request: pb.ClassifyRequest) -> str:
        async for response in self.stub.ClassifyStream(iter([request])):
            return response.version
        raise AssertionError

    async def _inferred(self, model: str, version: str, request_id: str = "") -> str:
        tensor, content = {"name": "images", "datatype": "BYTES", "shape": [1]}, PHOTO
        if model.endswith("_pixels"):
            tensor |= {"datatype": "UINT8", "shape": [1, bundles.SIDE, bundles.SIDE, 3]}
            content = bytes(bundles.SIDE**2 * 3)
        else:
            content = len(content).to_bytes(4, "little") + content
        request = oip.ModelInferRequest(
            model_name=model,
            model_version=version,
            id=request_id,
            inputs=[tensor],
            raw_input_contents=[content],
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.server.grpc.port}") as channel:
            return (await GRPCInferenceServiceStub(channel).ModelInfer(request)).model_version

    async def _posted(self, request_id: str = "", query: str = "") -> str:
        headers = {"x-request-id": request_id} if request_id else {}
        answer = await self.http.put(f"/v1/classify{query}", content=PHOTO, headers=headers)
        return str(answer.json()["version"])

    async def _open(self, path: str, request_id: str = "") -> str:
        headers = {"inference-header-content-length": "0"}
        if request_id:
            headers["x-request-id"] = request_id
        answer = await self.http.post(path, content=PHOTO, headers=headers)
        return str(answer.json()["model_version"])

    async def _open_json(self, request_id: str) -> str:
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 4, 4, 3], "data": [9] * 48}
        body = {"id": request_id, "inputs": [tensor]}
        # The id of the body comes before that of a proxy.
        headers = {"x-request-id": "of a proxy"}
        answer = await self.http.post("/v2/models/tiny/infer", json=body, headers=headers)
        return str(answer.json()["model_version"])

    def sample(self, name: str, **labels: str) -> float | None:
        registry = self.server.metrics.registry
        return registry.get_sample_value(f"serving_{name}", {"model": "tiny", **labels})


pytestmark = pytest.mark.asyncio(loop_scope="module")


def two_versions(folder: Path) -> Path:
    """Make a repository; its second version answers the class after the one of the first."""
    write_bundle(folder, version="1")
    write_bundle(folder, version="2", weights=OTHER_WEIGHTS)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository of its own."""
    return two_versions(tmp_path)


@pytest_asyncio.fixture(loop_scope="module")
async def labelled(folder: Path) -> AsyncIterator[Calls]:
    """A server in which the older version is stable."""
    async with serving(folder, "stable: 1\n") as calls:
        yield calls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unchanged(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Calls]:
    """The same for tests that change nothing."""
    folder = two_versions(tmp_path_factory.mktemp("repository"))
    async with serving(folder, "stable: 1\n") as calls:
        yield calls


@asynccontextmanager
async def serving(folder: Path, rollout: str = "", **settings: object) -> AsyncIterator[Calls]:
    path = folder / "tiny" / "rollout.yaml"
    if rollout:
        path.write_text(rollout)
    async with (
        repository_server(folder, **{"version_policy": "all", **settings}) as server,
        calling(server) as stub,
        http_to(server) as http,
    ):
        yield Calls(server, stub, http, path)


async def refused(call: "grpc.aio.UnaryUnaryCall[object, object]") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await call
    return found.value.code(), found.value.details() or ""


async def test_labels_choose_who_answers(folder: Path) -> None:
    async with serving(folder, "stable: 1\ncanary: 2\nbest: 2\n") as calls:
        for name, version in {"stable": "1", "1": "1", "canary": "2", "best": "2"}.items():
            answers = await calls.named(name)
            assert set(answers.values()) == {version}, answers
        assert await calls.version() == "1"
        assert (await calls.stub.GetModel(pb.GetModelRequest())).version == "1"


async def test_without_labels_the_newest_answers(folder: Path) -> None:
    async with serving(folder, "best: 1\n") as calls:
        assert set((await calls.of("anybody")).values()) == {"2"}


async def test_a_share_goes_to_the_canary_and_stays_there(folder: Path) -> None:
    async with serving(folder, CANARY) as calls:
        first = {each: await calls.version(request_id=each) for each in IDS}
        assert Counter(first.values()).keys() == {"1", "2"}
        assert first == {each: await calls.version(request_id=each) for each in IDS}
        for request_id in IDS[:4]:
            answers = await calls.of(request_id)
            assert set(answers.values()) == {first[request_id]}, answers
        await calls.stub.SetLabel(pb.SetLabelRequest(label="canary", version="2", share=0.75))
        later = {each: await calls.version(request_id=each) for each in IDS}
        assert {e for e in IDS if first[e] == "2"} < {e for e in IDS if later[e] == "2"}
        assert (await calls.stub.GetModel(pb.GetModelRequest())).version == "1"


async def test_an_unknown_label_is_not_found(folder: Path) -> None:
    async with serving(folder, CANARY) as calls:
        code, details = await refused(
            calls.stub.Classify(pb.ClassifyRequest(images=[png(1)], version="best"))
        )
        assert code == grpc.StatusCode.NOT_FOUND
        expected = "no version 'best'; loaded: 1, 2; labels: stable (1), canary (2)"
        assert details == f"model 'tiny' has {expected}"
        answer = await calls.http.put("/v1/classify?version=best", content=PHOTO)
        assert (answer.status_code, answer.json()) == (404, {"error": details})


async def test_labels_are_told(folder: Path) -> None:
    async with serving(folder, CANARY + "best: 2\n") as calls:
        models = (await calls.stub.ListModels(pb.ListModelsRequest())).models
        told = [[(a.label, a.version, a.share) for a in one.version_labels] for one in models]
        assert told == [[("stable", "1", 0.5)], [("canary", "2", 0.5), ("best", "2", 0.0)]]
        index = (await calls.http.post("/v2/repository/index")).json()
        reasons = {one["version"]: one["reason"] for one in index if one["name"] == "tiny"}
        assert reasons == {"1": "labels: stable", "2": "labels: canary, best"}
        config = (await calls.http.get("/v2/models/tiny/versions/2/config")).json()
        assert config["parameters"]["labels"]["string_value"] == "canary, best"
        assert calls.sample("label_share", version="1", label="stable") == 0.5


async def test_a_label_that_is_set_is_written_down(folder: Path) -> None:
    async with serving(folder, "# by hand\nstable: 1\n") as calls:
        request = pb.SetLabelRequest(model="tiny", label="stable", version="2")
        [label] = (await calls.stub.SetLabel(request)).labels
        assert (label.label, label.version, label.share) == ("stable", "2", 1.0)
        assert await calls.version() == "2"
        assert calls.rollout.read_text() == "# by hand\nstable: 2\n"
    async with serving(folder) as calls:
        assert (await calls.stub.GetModel(pb.GetModelRequest(version="stable"))).version == "2"


async def test_a_label_may_be_promoted_and_removed(folder: Path) -> None:
    async with serving(folder, CANARY) as calls:
        await calls.stub.SetLabel(pb.SetLabelRequest(label="stable", version="canary"))
        await calls.stub.SetLabel(pb.SetLabelRequest(label="canary", remove=True))
        assert calls.rollout.read_text() == "stable: 2\n"
        assert set((await calls.of(IDS[0])).values()) == {"2"}
        assert calls.sample("label_share", version="2", label="canary") is None


async def test_no_label_moves_while_the_server_drains(folder: Path) -> None:
    async with serving(folder, "stable: 1\n") as calls:
        calls.server.readiness.enter(State.DRAINING)
        request = pb.SetLabelRequest(model="tiny", label="stable", version="2")
        code, _ = await refused(calls.stub.SetLabel(request))
        assert code is grpc.StatusCode.UNAVAILABLE
        answer = await calls.http.delete("/v2/repository/models/tiny/labels/stable")
        assert answer.status_code == 503
        assert calls.rollout.read_text() == "stable: 1\n"


async def test_labels_are_set_over_http(folder: Path) -> None:
    path = "/v2/repository/models/tiny/labels/canary"
    async with serving(folder) as calls:
        answer = await calls.http.post(path, json={"version": "1", "share": 0.25})
        expected = {"label": "canary", "version": "1", "share": 0.25}
        assert (answer.status_code, answer.json()) == (200, {"labels": [expected]})
        assert calls.rollout.read_text() == "canary: {version: 1, share: 25%}\n"
        assert (await calls.http.delete(path)).json() == {"labels": []}
        answer = await calls.http.delete(path)
        assert answer.status_code == 404
        assert answer.json() == {"error": "model 'tiny' has no label 'canary'; there are none"}
        assert (await calls.http.post(path, json={"share": 0.5})).status_code == 400


@pytest.mark.parametrize(
    ("request_", "code", "complaint"),
    [
        ({"label": "stable", "version": "7"}, "NOT_FOUND", "no version '7'; loaded: 1, 2"),
        ({"label": "stable", "version": "best"}, "NOT_FOUND", "no version 'best'"),
        ({"model": "net", "label": "stable", "version": "1"}, "NOT_FOUND", "no model 'net'"),
        ({"label": "best", "remove": True}, "NOT_FOUND", "no label 'best'; there are stable"),
        ({"label": "stable"}, "INVALID_ARGUMENT", "name one that is loaded"),
        ({"label": "2", "version": "1"}, "INVALID_ARGUMENT", "'2' is no label"),
        ({"label": "v3", "version": "1"}, "INVALID_ARGUMENT", "does not look like a version"),
        ({"label": "", "version": "1"}, "INVALID_ARGUMENT", "'' is no label"),
        ({"label": "a: b\nstable", "version": "1"}, "INVALID_ARGUMENT", "is no label"),
        ({"label": "x" * 2000, "version": "1"}, "INVALID_ARGUMENT", "is no label"),
        ({"label": "x", "version": "1" * 2000}, "INVALID_ARGUMENT", "at most 1024"),
        ({"label": "best", "version": "1", "share": 0.1}, "INVALID_ARGUMENT", "only canary"),
        ({"label": "canary", "version": "1", "share": 1.5}, "INVALID_ARGUMENT", "up to 100%"),
        ({"label": "canary", "version": "1", "share": -0.5}, "INVALID_ARGUMENT", "above 0%"),
        ({"label": "canary", "version": "1", "share": float("nan")}, "INVALID_ARGUMENT", "0%"),
    ],
)  # fmt: skip
async def test_what_cannot_be_set_changes_nothing(
    unchanged: Calls, request_: dict[str, object], code: str, complaint: str
) -> None:
    found, details = await refused(unchanged.stub.SetLabel(pb.SetLabelRequest(**request_)))  # type: ignore[arg-type]
    assert (found.name, complaint in details) == (code, True), details
    assert unchanged.rollout.read_text() == "stable: 1\n"
    assert await unchanged.version() == "1"


async def test_a_folder_that_cannot_be_written_to_refuses_labels(
    labelled: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: RolloutFile) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(RolloutFile, "write", fail)  # the tests' user may write anywhere
    request = pb.SetLabelRequest(label="stable", version="2")
    code, details = await refused(labelled.stub.SetLabel(request))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "rollout.yaml cannot be written: Read-only file system; nothing was" in details
    assert await labelled.version() == "1"


async def test_a_file_that_is_wrong_is_not_changed_by_a_call(labelled: Calls) -> None:
    labelled.rollout.write_text("stable: 1\nstable: 2\n")
    request = pb.SetLabelRequest(label="stable", version="2")
    code, details = await refused(labelled.stub.SetLabel(request))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "rollout.yaml:2: 'stable' is there twice; nothing was changed" in details
    assert labelled.rollout.read_text() == "stable: 1\nstable: 2\n"


async def test_without_a_repository_there_are_no_labels(tiny: Path) -> None:
    async with running_server(tiny) as server, calling(server) as stub:
        request = pb.SetLabelRequest(label="stable", version="1")
        code, details = await refused(stub.SetLabel(request))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "start the server with --repository" in details


async def test_a_changed_file_is_read_again(labelled: Calls) -> None:
    labelled.rollout.write_text("stable: 2\n")
    await labelled.server.control.rescan()
    assert await labelled.version() == "2"
    labelled.rollout.unlink()
    await labelled.server.control.rescan()
    models = (await labelled.stub.ListModels(pb.ListModelsRequest())).models
    assert not any(one.version_labels for one in models)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stable: 2\nstable: 2\n", ":2: 'stable' is there twice"),
        ("stable: 7\n", ":1: stable: version 7 is not loaded; loaded: 1, 2"),
        ("best: 1\n\nstable: {version: 2", ":3: it is not YAML"),
    ],
)
async def test_a_file_that_is_wrong_leaves_the_labels_as_they_are(
    labelled: Calls, text: str, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert labelled.sample("rollout_errors_total") == 0  # else Prometheus would see no increase
    labelled.rollout.write_text(text)
    for _ in range(3):
        await labelled.server.control.rescan()
    assert await labelled.version() == "1"
    [line] = [text for text in caplog.messages if "the labels stay as they are" in text]
    assert f"{labelled.rollout}{complaint}" in line
    assert labelled.sample("rollout_errors_total") == 1
    labelled.rollout.write_text("stable: 2\n")
    await labelled.server.control.rescan()
    assert await labelled.version() == "2"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stable: 7\n", r"rollout.yaml:1: stable: version 7 is not loaded; loaded: 1, 2"),
        ("best: 1\n\ncanary: {version: 2, share: most}\n", r"rollout.yaml:3: 'most' is no share"),
    ],
)
async def test_a_file_that_is_wrong_keeps_the_server_from_starting(
    folder: Path, text: str, complaint: str
) -> None:
    with pytest.raises(StartupError, match=complaint):
        async with serving(folder, text):
            pass


async def test_a_label_may_not_be_called_as_a_version(folder: Path) -> None:
    write_bundle(folder, version="best")
    with pytest.raises(StartupError, match=":1: best: there is a version that is called so"):
        async with serving(folder, "best: 2"):
            pass


async def test_a_labelled_version_stays_loaded_beside_the_newest(folder: Path) -> None:
    async with serving(folder, "stable: 1\n", version_policy="latest:1") as calls:
        assert calls.server.repository.versions("tiny") == ["1", "2"]
        assert await calls.version() == "1"
        await calls.stub.SetLabel(pb.SetLabelRequest(label="stable", version="2"))
        await calls.server.control.rescan()
        assert calls.server.repository.versions("tiny") == ["2"]
        calls.rollout.write_text("stable: 1\n")  # rolled back by hand
        await calls.server.control.rescan()
        assert calls.server.repository.versions("tiny") == ["1", "2"]
        assert await calls.version() == "1"


async def test_a_labelled_version_is_not_unloaded(folder: Path) -> None:
    explicit = {"model_control": "explicit", "load_model": "tiny"}
    async with serving(folder, "stable: 1\n", **explicit) as calls:
        with pytest.raises(Exception, match="tiny/1 is labelled stable: move or remove that first"):
            await calls.server.control.unload("tiny", "1")
        assert await calls.version() == "1"
        await calls.server.control.unload("tiny", "2")
        await calls.server.control.unload("tiny")
        assert calls.sample("label_share", version="1", label="stable") is None
        await calls.server.control.load("tiny")
        assert await calls.version("stable") == "1"
        assert calls.sample("label_share", version="1", label="stable") == 1


async def test_labels_are_looked_at_while_the_last_version_goes(folder: Path) -> None:
    explicit = {"model_control": "explicit", "load_model": "tiny"}
    async with serving(folder, "stable: 1\n", **explicit) as calls:
        control = calls.server.control
        async with control.rollouts.lock:
            unloading = asyncio.create_task(control.unload("tiny"))
            await until(lambda: len(control.rollouts.lock._waiters or ()) == 1)
            looking = asyncio.create_task(control.relabel())
            await until(lambda: len(control.rollouts.lock._waiters or ()) == 2)
        await asyncio.gather(unloading, looking)
        assert calls.sample("label_share", version="1", label="stable") is None


async def test_what_a_shadow_has_counted_is_forgotten_with_its_version(folder: Path) -> None:
    explicit = {"model_control": "explicit", "load_model": "tiny"}
    async with serving(folder, "stable: 1\nshadow: 2\n", **explicit) as calls:
        await compared(calls, "2", 1)
        await calls.stub.SetLabel(pb.SetLabelRequest(label="shadow", remove=True))
        assert calls.sample("shadow_difference_count", version="2")
        await calls.server.control.unload("tiny", "2")
        assert calls.sample("shadow_difference_count", version="2") is None
        assert calls.sample("shadow_images_total", version="2", outcome="agrees") is None


def more(seen: Counter[str], version: str, before: int) -> bool:
    return seen[version] > before


async def test_labels_are_moved_under_load_without_a_failure(folder: Path) -> None:
    async with serving(folder, "stable: 1\n") as calls:
        seen, ended = Counter[str](), asyncio.Event()

        async def ask() -> None:
            while not ended.is_set():
                seen[await calls.version()] += 1
                seen[await calls.version("stable")] += 1

        async with asyncio.TaskGroup() as callers:
            for _ in range(8):
                callers.create_task(ask())
            for version in ("2", "1") * 10:
                before = seen[version]
                await calls.stub.SetLabel(pb.SetLabelRequest(label="stable", version=version))
                await until(partial(more, seen, version, before))
            ended.set()
        assert seen.keys() == {"1", "2"}


async def compared(calls: Calls, version: str, images: int) -> set[str]:
    """Classify images until the shadow has run so many, and return what it has found."""
    names = ("agrees", "differs", "failed", "skipped")

    def counted() -> dict[str, float]:
        values = {
            one: calls.sample("shadow_images_total", version=version, outcome=one) or 0
            for one in names
        }
        return {one: value for one, value in values.items() if value}

    def is_counted(before: float) -> bool:
        return sum(counted().values()) > before

    while (total := sum(counted().values())) - counted().get("skipped", 0) < images:
        assert await calls.version() == "1"  # before it is open, images are skipped
        await until(partial(is_counted, total))
    return counted().keys() - {"skipped"}


@pytest.mark.parametrize(("weights", "outcome"), [(WEIGHTS, "agrees"), (OTHER_WEIGHTS, "differs")])
async def test_a_shadow_is_compared_with_who_answers(
    folder: Path, weights: object, outcome: str
) -> None:
    write_bundle(folder, version="3", weights=weights)  # type: ignore[arg-type]
    async with serving(folder, "stable: 1\nshadow: 3\n") as calls:
        assert await compared(calls, "3", 3) == {outcome}
        differences = calls.sample("shadow_difference_sum", version="3")
        assert differences is not None
        assert (differences == 0) == (outcome == "agrees")
        # Nobody is answered by it, and its own counts know nothing of what it was shown.
        assert not calls.sample("images_total", version="3", outcome="ok")


async def test_a_shadow_follows_the_labels(folder: Path) -> None:
    async with serving(folder, "stable: 1\nshadow: 2\n") as calls:
        await compared(calls, "2", 1)
        repository = calls.server.repository
        one, two = repository.get("tiny", "1"), repository.get("tiny", "2")
        assert one.shadow
        assert not two.shadow
        await calls.stub.SetLabel(pb.SetLabelRequest(label="stable", version="2"))
        assert not one.shadow  # a version is no shadow of its own
        assert not two.shadow
        await calls.stub.SetLabel(pb.SetLabelRequest(label="shadow", version="1"))
        assert two.shadow
        await calls.stub.SetLabel(pb.SetLabelRequest(label="shadow", remove=True))
        assert not two.shadow


async def test_a_server_does_not_wait_for_a_shadow_that_opens(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, may_open = threading.Event(), threading.Event()

    def reopen(*_: object) -> Backend:
        entered.set()
        assert may_open.wait(60)
        return FakeBackend(len(LABELS), bundles.SIDE)

    monkeypatch.setattr(Loader, "_reopen", reopen)
    async with serving(folder, "stable: 1\nshadow: 2\n") as calls:
        await asyncio.to_thread(entered.wait, 60)
        assert await calls.version() == "1"
        assert calls.sample("shadow_images_total", version="2", outcome="skipped") == 1
    assert calls.server.control.is_busy  # so that the process ends at once
    may_open.set()
    await until(lambda: not calls.server.control.is_busy)


async def test_a_shadow_has_the_classes_of_who_answers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "LABELS", LABELS[::-1])
    monkeypatch.setattr(bundles._Described, "labels", LABELS[::-1])
    write_bundle(folder, version="3")
    with pytest.raises(
        StartupError, match="yaml:2: shadow: version 3 has other classes than version 1,"
    ):
        async with serving(folder, "stable: 1\nshadow: 3\n"):
            pass
