"""A Ray cluster on loopback addresses, its application, and callers; import it before Ray."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[4]
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # A node that is killed is missed after 2 s, not 15; one that is slow has as long as ever.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
    # How often replicas count their requests for the autoscaler.
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_RECORD_INTERVAL_S": "0.1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.1",
    # Every process of the cluster finds the checkout, as if `ray start` had run in it.
    "PYTHONPATH": str(ROOT),
}

from ray import serve  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from clients import ClassifierClient, Prediction  # noqa: E402
from deploy.ray.replica import Classifier  # noqa: E402
from tests.support.paths import SAMPLES, SHIPPED  # noqa: E402

IMAGE = (SAMPLES / "bag_30.png").read_bytes()
# Not 127.0.0.1, for which Ray takes an address of this machine that others can reach.
HEAD = "127.0.0.2"
SERVICERS = [
    "protos.classifier_pb2_grpc.add_ClassifierServicer_to_server",
    "protos.open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server",
]


@dataclass
class Nodes:
    """A cluster: its head, which runs Serve's proxy and no replica, and the others.

    Attributes:
        grpc: address of the proxy.
        http: likewise, a URL.
    """

    cluster: Cluster
    grpc: str
    http: str

    def add(self, number: int, cpus: int) -> Any:
        """Start a node on a loopback address of its own."""
        return self.cluster.add_node(
            num_cpus=cpus, node_ip_address=f"127.0.0.{number}", object_store_memory=80 * 2**20
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def end(cluster: Cluster) -> None:
    """Kill what is left of a cluster."""
    nodes = [cluster.head_node, *cluster.worker_nodes]
    kinds = [infos for node in nodes if node for infos in node.all_processes.values()]
    started = [info.process.pid for infos in kinds for info in infos]
    with suppress(Exception):
        cluster.shutdown()
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def running(name: str = "resnext") -> int:
    """Return how many replicas of the application answer."""
    deployment = serve.status().applications[name].deployments.get("Classifier")
    return int(deployment.replica_states.get("RUNNING", 0)) if deployment else 0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the cluster is in a state, which only asking tells, for at most two minutes."""
    give_up_s = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up_s, f"{what}: {serve.status()}"
        time.sleep(0.1)


def deploy(**options: Any) -> None:
    """Run the application with the shipped bundle, and with options of Ray's."""
    serve.run(Classifier.options(**options).bind({"model": [str(SHIPPED)]}), name="resnext")


class Load:
    """Callers who ask one request after the other, each of another connection, until the end.

    Attributes:
        answered: how many requests have their answer.
        failures: what the others raised.
    """

    def __init__(self, address: str, callers: int) -> None:
        self._address, self.answered = address, 0
        self.failures: list[Exception] = []
        self._over, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, requests: int) -> None:
        """Wait for so many more answers."""
        enough = self.answered + requests
        until(lambda: self.answered >= enough or bool(self.failures), f"{requests} more answers")

    def _call(self) -> None:
        with ClassifierClient(self._address, ray=True) as client:
            while not self._over.is_set():
                try:
                    [result] = client.classify([IMAGE], timeout_s=60)
                    assert isinstance(result, Prediction)
                except Exception as error:  # noqa: BLE001 - the test wants none
                    self.failures.append(error)
                else:
                    with self._lock:
                        self.answered += 1
