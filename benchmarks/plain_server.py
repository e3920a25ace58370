"""`python -m benchmarks.plain_server`: what a user writes in an afternoon.

grpc.aio, Pillow and ONNX Runtime, an image at a time on each thread of a pool. It speaks the wire
contract, so that the load tester can ask it.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PositiveInt

from benchmarks.command import Benchmark, configured, start
from bundle.store import Bundle
from cli.cores import usable_cores
from serving.backends.ort.library import onnxruntime

if TYPE_CHECKING:
    import grpc

SERVICE = "resnext.serving.v1.Classifier"

KERNELS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Classification:
    """An image file -> probabilities."""

    def __init__(self, bundle: Bundle, network: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(network, options)
        self._input = self._session.get_inputs()[0].name
        self._transform = bundle.manifest.transform
        self._mean = np.array(bundle.manifest.normalization.mean, np.float32)
        self._std = np.array(bundle.manifest.normalization.std, np.float32)

    def __call__(self, data: bytes) -> NDArray[np.float32]:
        """Return float32 (classes)."""
        image = Image.open(BytesIO(data)).convert("RGB")
        size, crop = self._transform.resize.resized(*image.size), self._transform.crop
        image = image.resize(size, KERNELS[self._transform.kernel])
        left, top = (size[0] - crop.width) // 2, (size[1] - crop.height) // 2
        image = image.crop((left, top, left + crop.width, top + crop.height))
        pixels = (np.asarray(image, np.float32) - self._mean) / self._std
        [answers] = self._session.run(None, {self._input: pixels.transpose(2, 0, 1)[None]})
        return np.asarray(answers[0])


class PlainServer(Benchmark):
    """Serve an ONNX file with the labels and the transform of a bundle, and nothing else."""

    model_config = configured("benchmarks.plain_server")

    model: Path = Field(description="bundle directory, for labels, transform and normalisation")
    network: Path = Field(
        description="ONNX file: float32 images in, channels first, probabilities out"
    )
    workers: PositiveInt = Field(
        usable_cores().usable, description="threads that decode and run an image each"
    )
    threads: PositiveInt = Field(1, description="threads of ONNX Runtime per image")

    def run(self) -> None:
        """Serve until the process is ended."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        # Here, so that gRPC is imported after its environment is set.
        import grpc

        bundle = Bundle.open(self.model)
        classify = Classification(bundle, self.network, self.threads)
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 << 20)])
        with ThreadPoolExecutor(self.workers) as pool:
            methods = _methods(bundle, classify, pool)
            service = grpc.method_handlers_generic_handler(SERVICE, methods)
            server.add_generic_rpc_handlers((service,))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            print(f"gRPC 127.0.0.1:{port}\nHTTP none", flush=True)
            try:
                await server.wait_for_termination()
            finally:
                # Else gRPC writes a traceback when the benchmark ends this process.
                await server.stop(None)


def _methods(
    bundle: Bundle, classify: Classification, pool: ThreadPoolExecutor
) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
    """Return what the load tester calls."""
    from grpc import unary_unary_rpc_method_handler

    from protos import classifier_pb2 as pb

    manifest = bundle.manifest

    def result(data: bytes, top_k: int) -> pb.Result:
        probabilities = classify(data)
        classes = [
            pb.Class(index=i, label=manifest.labels[i], probability=probabilities[i])
            for i in np.argsort(-probabilities)[: top_k or None].tolist()
        ]
        return pb.Result(classes=classes, timing=pb.Timing(batch_images=1))

    async def answer(request: pb.ClassifyRequest, _: Any) -> pb.ClassifyResponse:
        run = asyncio.get_running_loop().run_in_executor
        results = [
            await run(pool, result, image.encoded, request.top_k) for image in request.images
        ]
        return pb.ClassifyResponse(results=results, model=manifest.name, version=manifest.version)

    async def describe(_request: pb.GetModelRequest, _: Any) -> pb.Model:
        return pb.Model(name=manifest.name, version=manifest.version, labels=manifest.labels)

    return {
        "Classify": unary_unary_rpc_method_handler(
            answer, pb.ClassifyRequest.FromString, pb.ClassifyResponse.SerializeToString
        ),
        "GetModel": unary_unary_rpc_method_handler(
            describe, pb.GetModelRequest.FromString, pb.Model.SerializeToString
        ),
    }


if __name__ == "__main__":
    start(PlainServer)
