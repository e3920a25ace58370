"""Entries appended to an ONNX file."""

from pathlib import Path

import onnx
import onnxruntime

from export.formats.metadata import append_metadata
from tests.support.bundles import write_bundle


def test_appended_entries_are_read_and_nothing_else_changes(tmp_path: Path) -> None:
    path = write_bundle(tmp_path) / "model.onnx"
    before = onnx.load(path)
    append_metadata(path, {"maker": "me", "kind": "test"})
    after = onnx.load(path)
    onnx.checker.check_model(after, full_check=True)
    assert after.graph == before.graph
    found = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert found == {entry.key: entry.value for entry in before.metadata_props} | {
        "maker": "me",
        "kind": "test",
    }
