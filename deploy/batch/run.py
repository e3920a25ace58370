"""A run: what it was asked for, what is left of it, and what a worker of it needs."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bundle.store import Bundle
from cli.text import printable
from deploy.batch.engine import Engine
from deploy.batch.errors import DatasetError
from deploy.batch.item import Source
from deploy.batch.plan import write_plan
from deploy.batch.rows import Format
from deploy.batch.settings import DatasetConfig
from deploy.batch.sources.files import Files
from deploy.batch.sources.listing import Kind, list_source
from deploy.batch.sources.parquet import Column, Paths, Rows, choose_column
from deploy.batch.sources.tars import Tars
from deploy.batch.target import MANIFEST, Target
from deploy.batch.worker import Worker
from images.limits import ImageLimits
from serving.config import ServingConfig
from serving.opening import open_bundle

logger = logging.getLogger(__name__)

# What decides what the rows are. Another engine, other readers or other cores go on with a run.
OPTIONS = (
    "top_k", "all_probabilities", "column", "key_column", "shard_images", "device", "runtime",
    "precision", *ImageLimits._fields,
)  # fmt: skip


class Found(NamedTuple):
    """The kind of a source, and the column that is read if it is of Parquet files."""

    kind: Kind
    column: Column | None = None


def prepare(config: DatasetConfig, target: Target, bundle: Bundle) -> list[int]:
    """Begin a run, or find that it has begun; return the shards that are left.

    Raises `DatasetError` if the source is not usable, or the target has a run of something else.
    """
    asked, begun, done = _asked(config, bundle), target.manifest or {}, target.done()
    different = [name for name, value in asked.items() if begun.get(name) != value]
    if different and done:
        [name, *_] = different
        raise DatasetError(
            f"TARGET {target.path} has a run with {name} {begun.get(name)}, and this one has "
            f"{asked[name]}: go on with what {target.path / MANIFEST} states, or name a new folder"
        )
    if different:
        logger.info("searching %s", printable(config.source))
        found, paths = find(config)
        source = reader(found, config.image_limits, paths)
        stated = asked | {"found": _stated(found)}
        target.begin(stated, lambda path: _write_plan(config, source, path))
    return [shard for shard in range(target.plan.shards) if shard not in done]


def make_worker(
    config: DatasetConfig, serving: ServingConfig, tell: Callable[[int], None] = lambda _: None
) -> Worker:
    """Return a worker of a run that has begun: where it runs, the bundle proves itself first.

    Raises:
        DatasetError: the bundle is not the one that the run began with.
        BundleError: it does not prove itself.
        StartupError: it cannot run here.
    """
    target, bundle = Target(config.target), open_bundle(config.bundle, serving)
    begun = target.manifest or {}
    if begun.get("digest") != bundle.digest:
        raise DatasetError(f"{bundle.path} has another digest here than where the run began")
    source = reader(_found(target), config.image_limits, iter(()))
    form = Format(bundle.manifest.labels, config.top_k, all_probabilities=config.all_probabilities)
    return Worker(Engine(bundle, serving), source, target, form, config.readers, tell)


def find(config: DatasetConfig) -> tuple[Found, Iterator[str]]:
    """Return what the source is, and its files."""
    kind, paths = list_source(config.source)
    if kind != "Parquet file":
        if config.column or config.key_column:
            raise DatasetError(
                f"--column and --key-column are for Parquet files; SOURCE {config.source} is of "
                f"kind {kind}"
            )
        return Found(kind), paths
    held = list(paths)
    return Found(kind, choose_column(held[0], config.column, config.key_column)), iter(held)


def reader(found: Found, limits: ImageLimits, paths: Iterator[str]) -> Source:
    """Return what finds the images of these files, and reads them."""
    if found.column:
        return (Paths if found.column.is_paths else Rows)(paths, found.column, limits)
    return (Tars if found.kind == "tar" else Files)(paths, limits)


def _write_plan(config: DatasetConfig, source: Source, path: Path) -> int:
    images = write_plan(path, source.groups(), config.shard_images)
    if not images:
        raise DatasetError(f"SOURCE {config.source} holds no images")
    return images


def _asked(config: DatasetConfig, bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "source": config.source,
        "model": f"{manifest.name}/{manifest.version}",
        "digest": bundle.digest,
        "labels": manifest.labels,
        **{name: getattr(config, name) for name in OPTIONS},
    }


def _stated(found: Found) -> list[Any]:
    return [found.kind, found.column and list(found.column)]


def _found(target: Target) -> Found:
    """Return what `_stated` has written; raise `DatasetError` if somebody has changed it."""
    stated: Any = (target.manifest or {}).get("found")
    try:
        kind, column = stated
        return Found(kind, column and Column(*column))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{target.path / MANIFEST} is damaged: found is {stated}") from error
