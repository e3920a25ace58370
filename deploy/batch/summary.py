"""What came of a run, counted from its rows."""

from collections import Counter

import pyarrow.parquet as pq

from cli.tables import show_rows
from deploy.batch.errors import DatasetError
from deploy.batch.rows import STATUSES
from deploy.batch.target import Target


def count(target: Target) -> Counter[str]:
    """Return how many rows have each status; raise `DatasetError` unless each image has one."""
    counts, plan = Counter[str](), target.plan
    for shard in range(plan.shards):
        path = target.part(shard)
        try:
            column = pq.read_table(path, columns=["status"], partitioning=None).column("status")
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{path} cannot be read: {error}; remove it, and give the same command again"
            ) from error
        if len(column) != plan.count(shard):
            raise DatasetError(
                f"{path} has {len(column)} rows, and {plan.count(shard)} images belong to it; "
                f"remove it, and give the same command again"
            )
        counts.update(column.to_pylist())
    return counts


def show(counts: Counter[str]) -> None:
    """Print how many rows have each status."""
    rows = [(status, str(counts[status])) for status in STATUSES if counts[status]]
    show_rows(("status", "images"), rows)
