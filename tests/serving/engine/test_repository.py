from types import SimpleNamespace
from typing import cast

import pytest

from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    StartupError,
    UnavailableError,
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
    assert [model.version for model in repository.all()] == ["1.9", "1.9-rc2", "1.10", "v3"]


def test_an_empty_name_is_the_only_model() -> None:
    assert holding(("net", "1")).get("", "").name == "net"


def test_an_empty_name_among_several_is_refused_with_their_names() -> None:
    with pytest.raises(InvalidRequestError, match="name one of them: cat, net"):
        holding(("net", "1"), ("cat", "1")).get("", "")


def test_only_one_model_is_the_only_one() -> None:
    one = holding(("net", "1"))
    assert one.only is one.get("net", "1")
    assert holding().only is None
    assert holding(("net", "1"), ("net", "2")).only is None
    assert holding(("net", "1"), ("cat", "1")).only is None


def test_an_unknown_name_is_told_what_is_there() -> None:
    with pytest.raises(ModelNotFoundError, match="no model 'dog'; loaded: cat, net"):
        holding(("net", "1"), ("cat", "1")).get("dog", "")


def test_an_unknown_version_is_told_what_is_there() -> None:
    with pytest.raises(ModelNotFoundError, match="'net' has no version '3'; loaded: 2, 10"):
        holding(("net", "10"), ("net", "2")).get("net", "3")


def test_nothing_loaded_yet_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="loading"):
        ModelRepository().get("net", "")


def test_a_taken_name_and_version_is_refused_with_both_paths() -> None:
    repository = ModelRepository()
    first, second = (
        SimpleNamespace(name="net", version="1", bundle=SimpleNamespace(path=path))
        for path in ("models/a", "models/b")
    )
    repository.add(cast("Model", first))
    with pytest.raises(StartupError, match="models/a and models/b are both net/1"):
        repository.add(cast("Model", second))


def test_all_is_sorted_by_name_then_version() -> None:
    repository = holding(("net", "10"), ("cat", "1"), ("net", "9"))
    assert [(m.name, m.version) for m in repository.all()] == [
        ("cat", "1"),
        ("net", "9"),
        ("net", "10"),
    ]


@pytest.mark.parametrize(
    ("saturated", "all_are"), [([], False), ([True], True), ([True, False], False)]
)
def test_devices_wait_for_nobody_where_each_model_has_enough(
    saturated: list[bool], *, all_are: bool
) -> None:
    repository = ModelRepository()
    for number, is_saturated in enumerate(saturated):
        model = SimpleNamespace(name="net", version=str(number), is_saturated=is_saturated)
        repository.add(cast("Model", model))
    assert repository.is_saturated() is all_are
