"""The metadata of an ONNX file, where its stamp lies."""

from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto, StringStringEntryProto


def append_metadata(path: Path, entries: Mapping[str, str]) -> None:
    """Add entries to an ONNX file without reading it.

    Serialised messages that follow one another are one message (protobuf's encoding, "Last One
    Wins" and its merging of repeated fields), so the weights need not pass through memory again.
    """
    properties = [StringStringEntryProto(key=key, value=value) for key, value in entries.items()]
    with path.open("ab") as file:
        file.write(ModelProto(metadata_props=properties).SerializeToString(deterministic=True))
