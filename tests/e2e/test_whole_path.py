"""Training, export and serving in one go."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import FASHION_MNIST, ROOT, run, serve


@pytest.mark.timeout(600)
def test_a_trained_checkpoint_is_served(tmp_path: Path) -> None:
    run("training.train", "--recipe", "smoke", "--ckpt_path", tmp_path / "outputs")
    best = tmp_path / "outputs/latest/best_acc.ckpt"
    report = ("--report_path", tmp_path / "evaluations")
    evaluated = run("training.eval", "--pretrained", best, "--data_dir", FASHION_MNIST, *report)
    assert "(TOP1)" in evaluated
    assert "Inference Performance:" in evaluated
    run(
        *("export", "--ckpt_file", best, "--file_format", "ONNX,MINDIR"),
        *("--images", FASHION_MNIST, "--output", tmp_path / "bundles", "--name", "smoke"),
    )
    with serve(tmp_path / "bundles/smoke/1") as server:
        answer = run(
            *("clients", "classify", ROOT / "examples/images", "--address", server.grpc, "--json")
        )
    lines = [json.loads(line) for line in answer.splitlines()]
    assert len(lines) == 12
    assert all(0 < line["classes"][0]["probability"] <= 1 for line in lines)
