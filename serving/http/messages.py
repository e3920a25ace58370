"""Messages of protobuf as JSON, with the names of their fields."""

from typing import Any

from google.protobuf.message import Message


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
