"""A data set on a Ray cluster of two nodes: what dies there costs no row, and doubles none."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK, arguments, parts, rows, start, until
from ray.cluster_utils import Cluster

from deploy.ray.classify_dataset import main

IMAGES, SHARD = 2000, 10
FLAGS = ("--shard-images", str(SHARD), *QUICK)
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}  # it would call home


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    cluster.add_node(**node)
    yield cluster
    cluster.shutdown()


def on(cluster: Cluster) -> list[str]:
    """Return the flags that have a run on the cluster."""
    return ["--engine", "ray", "--ray-address", cluster.address]


def engines(cluster: Cluster) -> list[int]:
    """Return the processes that hold an engine, of this cluster alone."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if b"MapWorker" in name and parent in raylets:
            found.append(int(entry.name))
    return found


def test_a_worker_that_is_killed(
    cluster: Cluster, photos: Path, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    process = start(photos, tmp_path, *FLAGS, *on(cluster))
    until(lambda: len(parts(tmp_path)) > 2 and len(engines(cluster)) == 2, process)
    os.kill(engines(cluster)[0], signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert rows(tmp_path) == undisturbed


def test_a_driver_that_is_killed_or_interrupted(
    cluster: Cluster, photos: Path, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    for how, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = start(photos, tmp_path, *FLAGS, *on(cluster))
        before = len(parts(tmp_path))
        until(lambda before=before: len(parts(tmp_path)) > before, process)
        process.send_signal(how)
        _, err = process.communicate()
        assert process.returncode == code, err
        assert "Traceback" not in err
        until(lambda: not engines(cluster))  # they end because their driver has
    assert len(parts(tmp_path)) < IMAGES // SHARD
    # Elsewhere and otherwise, but for the same rows.
    assert main(arguments(photos, tmp_path, *FLAGS)) == 0
    assert rows(tmp_path) == undisturbed


def test_what_goes_wrong_on_a_node_is_told(cluster: Cluster, photos: Path, tmp_path: Path) -> None:
    for flags, said in (
        (
            ("--device", "cuda"),
            "room for 0 engines of 1 GPU and 1 cores each; its nodes have 1 CPU",
        ),
        (("--workers", "3"), "has room for 2 engines of 1 cores each; its nodes have 1 CPU; 1 CPU"),
        (("--precision", "bf16"), "bf16"),
    ):
        process = start(photos, tmp_path, *flags, *on(cluster))
        _, err = process.communicate()
        assert process.returncode == 1
        assert said in err
        assert "Traceback" not in err


def test_a_node_that_is_killed(
    cluster: Cluster, photos: Path, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The last one: the cluster has one node less after it."""
    process = start(photos, tmp_path, *FLAGS, *on(cluster))
    until(lambda: len(parts(tmp_path)) > 2, process)
    [_, node] = cluster.list_all_nodes()
    cluster.remove_node(node, allow_graceful=False)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert rows(tmp_path) == undisturbed


def test_no_cluster(photos: Path, tmp_path: Path) -> None:
    process = start(photos, tmp_path, "--engine", "ray", "--ray-address", "localhost:1")
    _, err = process.communicate()
    assert process.returncode == 1
    assert "start a cluster (ray start --head), or say --ray-address local" in err
