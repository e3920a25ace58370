"""The pages of protos/*.proto: services and messages, with the comments of the files."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from google.rpc import status_pb2
from grpc_tools import protoc

# A comment is found by the path of what it stands before: pairs of such a number, of a field of
# descriptor.proto, and an index.
MESSAGE, ENUM, SERVICE, SYNTAX = 4, 5, 6, 12
METHOD, FIELD, NESTED_MESSAGE, NESTED_ENUM, VALUE = 2, 2, 3, 4, 2
TABLE = ("```{table}", ":class: fields", "")
ELSEWHERE = {".google.rpc.Status": "[google.rpc.Status](https://google.aip.dev/193)"}

Comments = dict[tuple[int, ...], str]


def markdown(proto: Path) -> str:
    """Return what belongs below the title of a file's page."""
    file = _compiled(proto)
    return "\n".join(_Page(file).lines())


def _compiled(proto: Path) -> FileDescriptorProto:
    root = proto.parents[1]
    imported = [Path(status_pb2.__file__).parents[2], Path(protoc.__file__).parent / "_proto"]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "set"
        options = ["--include_source_info", f"--descriptor_set_out={result}"]
        places = [f"--proto_path={place}" for place in (root, *imported)]
        if protoc.main(["protoc", *places, *options, str(proto.relative_to(root))]):
            raise ValueError(f"{proto} cannot be compiled: protoc says above why")
        return FileDescriptorSet.FromString(result.read_bytes()).file[0]


class _Page:
    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        places = file.source_code_info.location
        self._comments = {tuple(place.path): place.leading_comments for place in places}

    def lines(self) -> Iterator[str]:
        package = f"Its package is `{self._file.package}`." if self._file.package else ""
        yield from ("", self._said(SYNTAX), "", package)
        for index, service in enumerate(self._file.service):
            yield from self._service(service, (SERVICE, index))
        for index, message in enumerate(self._file.message_type):
            yield from self._message(message, (MESSAGE, index), message.name)
        for index, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, (ENUM, index), enum.name)

    def _said(self, *path: int) -> str:
        said = " ".join(self._comments.get(path, "").split())
        return re.sub(r"https://[^ ]*[^ .,:;)]", r"<\g<0>>", said)

    def _head(self, name: str, *path: int) -> Iterator[str]:
        yield from ("", f"## {name}", "", self._said(*path), "")

    def _service(self, service: ServiceDescriptorProto, path: tuple[int, ...]) -> Iterator[str]:
        yield from self._head(service.name, *path)
        for index, method in enumerate(service.method):
            taken = _stream(method.client_streaming) + self._link(method.input_type)
            returned = _stream(method.server_streaming) + self._link(method.output_type)
            yield from ("", f"### rpc {method.name}", "", f"{taken} → {returned}", "")
            yield self._said(*path, METHOD, index)

    def _message(self, message: DescriptorProto, path: tuple[int, ...], name: str) -> Iterator[str]:
        yield from self._head(name, *path)
        maps = {inner.name: inner for inner in message.nested_type if inner.options.map_entry}
        if message.field:
            yield from self._fields(message, path, maps)
        else:
            yield "It has no fields."
        for index, inner in enumerate(message.nested_type):
            if inner.name not in maps:
                place = (*path, NESTED_MESSAGE, index)
                yield from self._message(inner, place, f"{name}.{inner.name}")
        for index, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*path, NESTED_ENUM, index), f"{name}.{enum.name}")

    def _fields(
        self, message: DescriptorProto, path: tuple[int, ...], maps: dict[str, DescriptorProto]
    ) -> Iterator[str]:
        yield from TABLE
        yield from ("| field | type | number | |", "|---|---|--:|---|")
        for index, field in enumerate(message.field):
            said = self._said(*path, FIELD, index)
            if field.HasField("oneof_index"):
                said = f"One of `{message.oneof_decl[field.oneof_index].name}`. {said}"
            yield f"| `{field.name}` | {self._type(field, maps)} | {field.number} | {said} |"
        yield "```"

    def _enum(self, enum: EnumDescriptorProto, path: tuple[int, ...], name: str) -> Iterator[str]:
        yield from self._head(name, *path)
        yield from TABLE
        yield from ("| value | number | |", "|---|--:|---|")
        for index, value in enumerate(enum.value):
            yield f"| `{value.name}` | {value.number} | {self._said(*path, VALUE, index)} |"
        yield "```"

    def _type(self, field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
        if entry := maps.get(field.type_name.rpartition(".")[2]):
            key, value = (self._type(part, {}) for part in entry.field)
            return f"map of {key} to {value}"
        repeated = "repeated " if field.label == field.LABEL_REPEATED else ""
        if field.type_name:
            return repeated + self._link(field.type_name)
        return repeated + field.Type.Name(field.type).removeprefix("TYPE_").lower()

    def _link(self, type_name: str) -> str:
        if type_name in ELSEWHERE:
            return ELSEWHERE[type_name]
        name = type_name.removeprefix(f".{self._file.package}").lstrip(".")
        return f"[{name}](#{name.lower().replace('.', '')})"


def _stream(streaming: bool) -> str:  # noqa: FBT001 - a field of a method
    return "stream of " if streaming else ""
