"""A Ray cluster each of whose nodes has one core of this machine, and what all of it takes."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SERVICER = "protos.classifier_pb2_grpc.add_ClassifierServicer_to_server"
# Not 127.0.0.1, for which Ray takes an address that other machines can reach.
ADDRESS = "127.0.0.2"


@contextmanager
def cluster(model: Path, *cores: int) -> Iterator[tuple[str, Callable[[], set[int]]]]:
    """Run an application on the first of a cluster's nodes, and one on all, a core each.

    Yields the address of the proxy, and what tells the processes that belong to no node's core.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(Path.cwd())}
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    from deploy.ray.replica import Classifier

    memory = {"object_store_memory": 100 * 2**20}
    head = {"num_cpus": 0, "node_ip_address": ADDRESS, "include_dashboard": False}
    running = Cluster(initialize_head=True, head_node_args=head | memory)
    nodes: list[Any] = []
    try:
        for number, core in enumerate(cores):
            with on_core(core):  # what it starts has the same
                node = {"num_cpus": 2, "node_ip_address": f"127.0.0.{3 + number}"}
                nodes.append(running.add_node(resources={f"node{number}": 1}, **node, **memory))
        ray.init(address=running.address, log_to_driver=False, logging_level="error")
        port = free_port()
        serve.start(
            proxy_location="HeadOnly",
            grpc_options={"port": port, "grpc_servicer_functions": [SERVICER]},
        )
        settings = {"model": [str(model)], "tuned": "off"}
        one = {"num_cpus": 1, "resources": {"node0": 1}}
        serve.run(
            Classifier.options(ray_actor_options=one).bind(settings), name="one", route_prefix="/1"
        )
        serve.run(
            Classifier.options(num_replicas=len(cores), max_replicas_per_node=1).bind(settings),
            name="two",
            route_prefix="/2",
        )
        pinned = [pid for node in nodes for pid in processes(node)]
        yield f"127.0.0.1:{port}", lambda: family(os.getpid()) - family(*pinned)
    finally:
        ray.shutdown()
        running.shutdown()


def free_port() -> int:
    """Return a port that nobody has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def processes(node: Any) -> list[int]:
    """Return the processes that a node has started."""
    return [one.process.pid for kind in node.all_processes.values() for one in kind]


def family(*pids: int) -> set[int]:
    """Return processes, and all that descend from them."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Have what this thread starts run on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(cores: set[int], pids: set[int]) -> None:
    """Have all threads of processes run on these cores."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            try:
                os.sched_setaffinity(int(thread.name), cores)
            except ProcessLookupError:
                continue  # it has ended
