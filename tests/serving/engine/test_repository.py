from types import SimpleNamespace
from typing import cast

import pytest

from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import (
    InvalidRequestError,
)


def holding(*models: tuple[str, str]) -> ModelRepository:
    repository = ModelRepository()
    for name, version in models:
        repository.add(cast("Model", SimpleNamespace(name=name, version=version)))
    return repository


def test_an_empty_version_is_the_newest_by_number() -> None:
    repository = holding(("net", "9"), ("net", "10"), ("net", "2"))
    assert repository.get("net", "").version == "10"
    assert repository.get("net", "9").version == "9"


def test_versions_compare_part_by_part() -> None:
    versions = ["1.10", "1.9", "1.9-rc2", "v3"]
    repository = holding(*(("net", version) for version in versions))
    assert [model.version for model in repository.all()] == ["1.9-rc2", "1.9", "1.10", "v3"]


def test_an_empty_name_is_the_only_model() -> None:
    assert holding(("net", "1")).get("", "").name == "net"


def test_an_empty_name_among_several_is_refused_with_their_names() -> None:
    with pytest.raises(InvalidRequestError, match="name one of them: cat, net"):
        holding(("net", "1"), ("cat", "1")).get("", "")
