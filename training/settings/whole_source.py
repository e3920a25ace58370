"""Settings that come together, from one file."""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource


class WholeSource(PydanticBaseSettingsSource):
    """A source whose `__call__` returns all that it sets."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002
        field_name: str,
    ) -> tuple[Any, str, bool]:
        """Return nothing for a single field."""
        return None, field_name, False
