"""What docs/ray.md shows, and the file that it deploys."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from cluster import ROOT, Nodes, until
from ray import serve
from ray.serve.schema import ServeDeploySchema

PAGE = (ROOT / "docs/ray.md").read_text()
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
FILE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())


def known(stated: Any, read: Any) -> bool:
    """Whether Ray has read all that a file states: it ignores what it does not know."""
    if isinstance(stated, dict):
        return all(name in read and known(value, read[name]) for name, value in stated.items())
    if isinstance(stated, list):
        return len(stated) == len(read) and all(map(known, stated, read))
    return bool(stated == read)


def test_ray_knows_all_that_the_file_says() -> None:
    assert known(FILE, ServeDeploySchema.model_validate(FILE).model_dump(mode="json"))


def test_the_check_can_fail() -> None:
    wrong = FILE | {"http_options": {"prot": 8000}}
    assert not known(wrong, ServeDeploySchema.model_validate(wrong).model_dump(mode="json"))


def is_deployed() -> bool:
    application = serve.status().applications.get("resnext")
    return application is not None and application.status == "RUNNING"


def test_the_commands_work(nodes: Nodes) -> None:
    assert [command.split()[0] for command in COMMANDS] == ["serve", "python", "curl"]
    serve.delete("resnext")  # that of other tests
    said = []
    for command in COMMANDS:
        shown = command.replace("localhost:9000", nodes.grpc).replace(
            "localhost:8000", nodes.http.removeprefix("http://")
        )
        done = subprocess.run(
            ["bash", "-euc", shown],
            cwd=ROOT,
            env=os.environ
            | {
                "RAY_ADDRESS": nodes.cluster.address,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
        until(is_deployed, "the application")
    assert "Ankle boot" in said[1]
    assert '"label":"Bag"' in said[2]
