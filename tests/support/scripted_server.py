"""A real gRPC server whose answers are scripted, for the client and the load tester."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierServicer, add_ClassifierServicer_to_server

LABELS = ("Bag", "Coat", "Dress")
Metadata = tuple[tuple[str, str], ...]


class ScriptedServer(ClassifierServicer):
    """Records requests; fails as `failures` says, then calls every image but b"bad..." a Coat.

    `first` is the probability of a Coat.
    """

    def __init__(self) -> None:
        self.requests: list[pb.ClassifyRequest] = []
        self.timeouts_s: list[float] = []
        self.request_ids: list[str] = []
        self.failures: deque[tuple[grpc.StatusCode, str, Metadata]] = deque()
        self.max_images_per_request = 4
        self.drop_results = False
        self.complaint = "not an image"
        self.task = ""
        self.first = 0.75
        self.arrived = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.address = ""

    def fail(self, code: grpc.StatusCode, details: str, *metadata: tuple[str, str]) -> None:
        self.failures.append((code, details, metadata))

    def Classify(self, request, context):  # noqa: N802
        self.requests.append(request)
        self.timeouts_s.append(context.time_remaining())
        names = [value for key, value in context.invocation_metadata() if key == "x-request-id"]
        self.request_ids.extend(names)
        named = [("x-request-id", name) for name in names or ["made"]]
        context.set_trailing_metadata(named)
        self.arrived.set()
        self.may_answer.wait()
        if self.failures:
            code, details, metadata = self.failures.popleft()
            context.set_trailing_metadata([*metadata, *named])
            context.abort(code, details)
        if len(request.images) == 1 and request.images[0].encoded.startswith(b"bad"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.complaint)
        results = [self._result(request, image) for image in request.images]
        if self.drop_results:
            results = []
        return pb.ClassifyResponse(results=results, model="m", version="2", digest="sha256:0")

    def ClassifyStream(self, request_iterator, context):  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "not scripted")

    def GetModel(self, request, context):  # noqa: N802
        if request.model not in ("", "m"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model}; loaded: m")
        return pb.Model(
            name="m",
            version=request.version or "2",
            labels=LABELS,
            height=28,
            width=28,
            buckets=[1, 8],
            top1=0.925,
            max_images_per_request=self.max_images_per_request,
            ready=True,
            task=self.task,
        )

    def ListModels(self, request, context):  # noqa: N802
        return pb.ListModelsResponse(models=[self.GetModel(pb.GetModelRequest(), context)])

    def _result(self, request: pb.ClassifyRequest, image: pb.Image) -> pb.Result:
        if image.encoded.startswith(b"bad"):
            code: int = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            return pb.Result(status={"code": code, "message": self.complaint})
        probabilities = (0.125, self.first, 0.125)
        ranked = [(1, self.first), (0, 0.125), (2, 0.125)][: request.top_k or None]
        return pb.Result(
            classes=[pb.Class(index=i, label=LABELS[i], probability=p) for i, p in ranked],
            probabilities=probabilities if request.full_probabilities else (),
            timing=pb.Timing(decode_ms=1.5, total_ms=4, batch_images=3),
        )


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, options=[("grpc.max_receive_message_length", 32 << 20)])
        add_ClassifierServicer_to_server(scripted, server)
        scripted.address = f"localhost:{server.add_insecure_port('localhost:0')}"
        server.start()
        yield scripted
        scripted.may_answer.set()
        server.stop(grace=None).wait()
