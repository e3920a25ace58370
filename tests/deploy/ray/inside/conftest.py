"""What all tests share: a Ray cluster of three nodes, and a plain server to compare with."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import ray
from cluster import HEAD, SERVICERS, Nodes, end, free_port
from ray import serve
from ray.cluster_utils import Cluster

from tests.support.paths import SHIPPED
from tests.support.process import Server
from tests.support.process import serve as plain_server


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    with ExitStack() as stack:
        head = {
            "num_cpus": 0,
            "node_ip_address": HEAD,
            "include_dashboard": False,
            "object_store_memory": 80 * 2**20,
        }
        cluster = Cluster(initialize_head=True, head_node_args=head)
        stack.callback(end, cluster)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        stack.callback(ray.shutdown)
        grpc, http = free_port(), free_port()
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": "127.0.0.1", "port": http},
            grpc_options={"port": grpc, "grpc_servicer_functions": SERVICERS},
        )
        stack.callback(serve.shutdown)
        nodes = Nodes(cluster, f"127.0.0.1:{grpc}", f"http://127.0.0.1:{http}")
        nodes.add(3, cpus=2)
        nodes.add(4, cpus=1)
        yield nodes


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The single server, whose answers are the measure."""
    with plain_server(SHIPPED, "--instances", "1") as server:
        yield server
