"""protos/open_inference.proto says what the clients of others say, number by number."""

import base64
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from protos import open_inference_pb2
from tests.support.foreign import foreign

# Prints a module's file descriptors; two modules of one package cannot be in one process.
DUMP = """
import base64, importlib, json, sys

files = {}

def add(file):
    for other in file.dependencies:
        add(other)
    files[file.name] = base64.b64encode(file.serialized_pb).decode()

add(importlib.import_module(sys.argv[1]).DESCRIPTOR)
print(json.dumps(files))
"""


class Field(NamedTuple):
    """What two sides must agree on to understand each other."""

    number: int
    type: int
    label: int
    type_name: str
    oneof: str


class Contract:
    """Messages, enums and calls by their full names."""

    def __init__(self, files: Sequence[FileDescriptorProto]) -> None:
        self.messages: dict[str, dict[str, Field]] = {}
        self.enums: dict[str, dict[str, int]] = {}
        self.calls: dict[str, tuple[str, str, bool, bool]] = {}
        for file in files:
            if not file.package.startswith("google."):
                self._add_file(file)

    def _add_file(self, file: FileDescriptorProto) -> None:
        for enum in file.enum_type:
            self.enums[f".{file.package}.{enum.name}"] = {v.name: v.number for v in enum.value}
        for message in file.message_type:
            self._add(f".{file.package}", message)
        for service in file.service:
            for call in service.method:
                streams = call.client_streaming, call.server_streaming
                name = f"{file.package}.{service.name}/{call.name}"
                self.calls[name] = (call.input_type, call.output_type, *streams)

    def _add(self, scope: str, message: DescriptorProto) -> None:
        name = f"{scope}.{message.name}"
        for enum in message.enum_type:
            self.enums[f"{name}.{enum.name}"] = {v.name: v.number for v in enum.value}
        for inner in message.nested_type:
            self._add(name, inner)
        oneofs = [oneof.name for oneof in message.oneof_decl]
        self.messages[name] = {
            field.name: Field(
                field.number,
                field.type,
                field.label,
                field.type_name,
                oneofs[field.oneof_index] if field.HasField("oneof_index") else "",
            )
            for field in message.field
        }


def own_files(file: FileDescriptor) -> Iterator[FileDescriptorProto]:
    for other in file.dependencies:
        yield from own_files(other)
    yield FileDescriptorProto.FromString(file.serialized_pb)


@pytest.fixture(scope="module")
def ours() -> Contract:
    return Contract([*own_files(open_inference_pb2.DESCRIPTOR)])


def theirs(module: str) -> Contract:
    done = foreign("-c", DUMP, module)
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout).values()
    return Contract([FileDescriptorProto.FromString(base64.b64decode(file)) for file in files])


def test_triton_says_all_that_we_say(ours: Contract) -> None:
    triton = theirs("tritonclient.grpc.service_pb2")
    for name, fields in ours.messages.items():
        assert fields.items() <= triton.messages[name].items(), name
    for name, values in ours.enums.items():
        assert values.items() <= triton.enums[name].items(), name
    assert ours.calls.items() <= triton.calls.items()


def test_we_say_all_that_triton_says(ours: Contract) -> None:
    """Of a model's config only what a classifier has: the rest is of Triton's backends."""
    triton = theirs("tritonclient.grpc.service_pb2")
    assert ours.calls == triton.calls
    config = reachable(triton, ".inference.ModelConfig")
    for name in triton.messages.keys() - config:
        assert ours.messages.get(name) == triton.messages[name], name


def reachable(contract: Contract, name: str) -> set[str]:
    """Return the names of a message and of all that its fields hold."""
    found = {name}
    waiting = [name]
    while waiting:
        for field in contract.messages[waiting.pop()].values():
            if field.type_name in contract.messages and field.type_name not in found:
                found.add(field.type_name)
                waiting.append(field.type_name)
    return found


def test_we_say_all_that_kserve_says(ours: Contract) -> None:
    """But for loading and unloading, where it contradicts Triton, and which its client lacks."""
    kserve = theirs("kserve.protocol.grpc.grpc_predict_v2_pb2")
    assert kserve.calls.items() <= ours.calls.items()
    messages = {n: fields for n, fields in kserve.messages.items() if ".RepositoryModel" not in n}
    assert len(messages) > 20
    for name, fields in messages.items():
        assert fields.items() <= ours.messages[name].items(), name
