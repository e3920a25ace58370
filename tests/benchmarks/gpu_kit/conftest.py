"""A bundle of an untrained network, made without running it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from benchmarks.models import NAME
from benchmarks.untrained import onnx_model
from benchmarks.weights import network
from bundle.manifest import MANIFEST, Manifest, ModelFile
from bundle.store import Bundle, sha256
from export.foreign.names import prefix
from export.formats.grouped import merge_groups
from tests.support.bundles import write_bundle, write_manifest


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its files hold the network in fp32 and fp16; everything else is another bundle's."""
    path = write_bundle(tmp_path_factory.mktemp("untrained"), NAME)
    model = onnx_model(network(NAME))
    prefix(model)
    merge_groups(model.graph)
    onnx.save(model, path / "model.onnx")
    for tensor in model.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    onnx.save(model, path / "half.onnx")
    stated = Manifest.model_validate_json((path / MANIFEST).read_bytes())
    files = [_file(path / "model.onnx", stated), _file(path / "half.onnx", stated)]
    files[1] = files[1].model_copy(update={"precision": "fp16"})
    update = {"architecture": NAME, "files": files}
    write_manifest(path, stated.model_copy(update=update))
    return Bundle.open(path)


def _file(path: Path, stated: Manifest) -> ModelFile:
    update = {"path": path.name, "sha256": sha256(path)}
    return stated.files[0].model_copy(update=update)
