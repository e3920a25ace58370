"""Messages of protobuf as JSON, with the names of their fields, and its schema."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from serving.http.openapi import BOOLEAN, TEXT, Schema, list_schema

# Most are of 64 bits, and generated clients in typed languages take fewer if nothing is said.
INTEGER: Schema = {"type": "integer", "format": "int64"}
NUMBER: Schema = {"type": "number"}
SCALARS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_BOOL: BOOLEAN,
    FieldDescriptor.CPPTYPE_STRING: TEXT,
    FieldDescriptor.CPPTYPE_FLOAT: NUMBER,
    FieldDescriptor.CPPTYPE_DOUBLE: NUMBER,
}


def to_json(message: Message) -> dict[str, Any]:
    """Return a message as what JSON makes an object of.

    Unlike in protobuf's own mapping, numbers of 64 bits are numbers: clients of the Open Inference
    Protocol reckon with them. Values that are not set have their defaults, messages are left out.
    """
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if field.is_repeated or not field.message_type or message.HasField(field.name)
    }


def message_schema(message: Any) -> Schema:
    """Return the JSON Schema of a message, from its descriptor, with the names of the .proto.

    Details of a `google.rpc.Status`, which may be any message, are left out: no answer has them.
    """
    fields = {each.name: _field_schema(each) for each in message.fields if not _is_any(each)}
    return {"title": message.name, "type": "object", "properties": fields}


def _value(field: Any, value: Any) -> Any:
    if not field.is_repeated:
        return _one(field, value)
    if field.message_type and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {key: _one(inner, one) for key, one in value.items()}
    return [_one(field, one) for one in value]


def _one(field: Any, value: Any) -> Any:
    if field.message_type:
        return to_json(value)
    return field.enum_type.values_by_number[value].name if field.enum_type else value


def _field_schema(field: FieldDescriptor) -> Schema:
    if field.message_type and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        return {"type": "object", "additionalProperties": _field_schema(value)}
    if field.message_type:
        schema = message_schema(field.message_type)
    elif field.enum_type:
        names = [value.name for value in field.enum_type.values]
        schema = {"title": field.enum_type.name, "type": "string", "enum": names}
    else:
        schema = SCALARS.get(field.cpp_type, INTEGER)
    return list_schema(schema) if field.is_repeated else schema


def _is_any(field: FieldDescriptor) -> bool:
    message = field.message_type
    return message is not None and message.full_name == "google.protobuf.Any"
