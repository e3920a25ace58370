"""Containers of Kubernetes, run as processes of this machine, and their probes."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.chart import Object
from tests.support.paths import ROOT
from tests.support.process import Server, ready

PORTS = re.compile(r"--(grpc|http)-port=|--host=")


@dataclass(frozen=True)
class Pod:
    """A server that runs as its container says, on free ports of this machine."""

    container: Object
    variables: Mapping[str, str]
    root: Path
    server: Server

    def passes(self, name: str) -> bool:
        """Return what the kubelet would find."""
        probe = self.container[name]
        port = {"grpc": self.server.grpc, "http": self.server.http.rpartition("/")[2]}
        if "grpc" in probe:
            assert probe["grpc"]["port"] == number(self.container, "grpc")
            return is_serving(port["grpc"], probe["grpc"].get("service", ""))
        if "httpGet" in probe:
            asked = probe["httpGet"]
            assert asked["port"] in ("http", number(self.container, "http"))
            url = f"{asked.get('scheme', 'HTTP').lower()}://{port['http']}{asked['path']}"
            return httpx.get(url, verify=False).status_code < 400  # the kubelet checks none
        if "exec" in probe:
            words = [moved(word, self.root) for word in probe["exec"]["command"]]
            assert words.pop(0) == "python"
            own = {**self.variables, "SERVING_HTTP_PORT": port["http"].rpartition(":")[2]}
            done = subprocess.run([sys.executable, *words], env=own, check=False)
            return done.returncode == 0
        host, _, found = port[probe["tcpSocket"]["port"]].rpartition(":")
        with socket.create_connection((host, int(found))):
            return True


def number(container: Object, protocol: str) -> int:
    """Return the port that its flags name."""
    flag = f"--{protocol}-port="
    [found] = [word.removeprefix(flag) for word in container["args"] if word.startswith(flag)]
    return int(found)


def is_serving(address: str, service: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            found = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        except grpc.RpcError:
            return False
        return bool(found.status == health_pb2.HealthCheckResponse.SERVING)


def moved(text: str, root: Path) -> str:
    """Return a container's word with its paths on this machine."""
    text = text.replace("/opt/health.py", str(ROOT / "deploy/container/health.py"))
    return re.sub(r"(^|=)/(mnt/models|models|cache|etc/resnext-serving)", rf"\1{root}/\2", text)


@contextmanager
def running(root: Path, container: Object) -> Iterator[Pod]:
    """Run a container, whose volumes are folders below `root`, until SIGTERM."""
    args = [moved(word, root) for word in container["args"] if not PORTS.match(word)]
    ports = ["--host=127.0.0.1", "--grpc-port=0", "--http-port=0"]
    variables = {one["name"]: moved(one["value"], root) for one in container.get("env", ())}
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", *args, *ports, "--shutdown-delay-s=0"],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Pod(container, variables, root, ready(process))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
