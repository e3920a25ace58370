"""The command: real workers, what is kept and shown, and what is refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bundle.store import Bundle
from cli.program import UsageError
from images.limits import ImageLimits
from serving.tune import accuracy, report
from serving.tune import command as command_module
from serving.tune.accuracy import allowed, drops
from serving.tune.candidate import Candidate
from serving.tune.command import tune
from serving.tune.config import TuneConfig
from serving.tune.photos import choose_photos
from serving.tune.process import Job, Result, TooSlowError, Turn, Worker, WorkerError
from tests.support.bundles import TRANSFORM, reseal
from tests.support.paths import ROOT, SHIPPED
from tests.support.process import start

SAMPLES = ROOT / "examples/images"
ONE = Candidate("onnxruntime", "fp32", 1, 1, (1, 2))


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "serving", "tune", *map(str, arguments)]


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*arguments), cwd=ROOT, text=True, capture_output=True)


@pytest.mark.slow
def test_it_tunes_the_shipped_bundle_and_a_server_says_so(tmp_path: Path) -> None:
    budget = ("--budget-s", "30", "--max-accuracy-drop", "0.1", "--cache-dir", tmp_path)
    done = run(SHIPPED, "--images", SAMPLES, *budget, "--picture", tmp_path / "tried.svg")
    assert done.returncode == 0, done.stderr
    heading, _, defaults, *rows = done.stdout.splitlines()
    assert heading.split()[:2] == ["Runtime", "Precision"]
    assert re.search(r" [\d.]+ +\d+ +defaults +█+", defaults)
    assert re.search(r" [\d.]+ +\d+ +[\d.]+ +█+", rows[0])
    assert "matplotlib" in (tmp_path / "tried.svg").read_text()
    [path] = (tmp_path / "tune").iterdir()
    assert f"Kept in {path}; python -m serving uses it" in done.stdout
    found = json.loads(path.read_text())
    assert ("Best: " in done.stdout) == bool(found["settings"])
    server = start(SHIPPED, "--tuned", "auto", "--cache-dir", str(tmp_path))
    try:
        assert server.stderr
        expected = "tuned settings: " if found["settings"] else "the defaults are best here"
        assert any(expected in line for line in server.stderr)
    finally:
        server.kill()
        server.communicate()


def test_a_worker_answers_until_its_end(tiny: Path) -> None:
    photos = [tiny / "golden/ant_0.png", tiny / "golden/bee_1.png"]
    settings = ONE._asdict() | {"slo_ms": 10_000}
    with Worker(Job(model=tiny, settings=settings, photos=photos)) as worker:
        worker.loaded(60)
        turn = Turn(seconds=0.05, in_flight=3)
        result = worker.ask(turn, Result, 60)
        assert result.answered == result.in_time >= 3
        assert result.p99_ms > 0
        assert result.goodput == result.in_time / result.seconds
        with pytest.raises(TooSlowError):
            worker.ask(Turn(seconds=60, in_flight=1), Result, 0.01)
        [process] = [c for c in psutil.Process().children() if "serving.tune.worker" in c.cmdline()]
        process.kill()
        with pytest.raises(WorkerError, match=r"ended by signal 9 \(Killed\)"):
            worker.ask(turn, Result, 60)
    assert not process.is_running()


def test_why_a_candidate_cannot_be_loaded_is_said(tiny: Path) -> None:
    settings = ONE._replace(precision="int8")._asdict()
    with (
        Worker(Job(model=tiny, settings=settings, photos=[])) as worker,
        pytest.raises(WorkerError, match="the bundle holds no onnx file in int8"),
    ):
        worker.loaded(60)


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_and_no_file(tiny: Path, tmp_path: Path) -> None:
    short = ("--cache-dir", tmp_path, "--budget-s", "20")
    arguments = command(tiny, "--images", tiny / "golden", *short)
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "tuning" in process.stderr.readline()
        assert "img/s" in process.stderr.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read()
    assert [(c, c.status()) for c in children if c.is_running()] == []
    assert list((tmp_path / "tune").iterdir()) == []


def refusal(tiny: Path, tmp_path: Path, **flags: object) -> str:
    given = {"model": tiny, "images": SAMPLES, "cache_dir": tmp_path, **flags}
    with pytest.raises(UsageError) as refused:
        tune(TuneConfig.model_validate(given))
    return str(refused.value)


def test_what_cannot_be_tuned_is_refused_in_a_sentence(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert "only a CPU is tuned" in refusal(tiny, tmp_path, device="cuda")
    assert "there is no " in refusal(tiny, tmp_path, images=tmp_path / "nothing")
    assert "no images (.bmp, " in refusal(tiny, tmp_path, images=tmp_path / "empty")
    assert "this user has no home" in refusal(tiny, tmp_path, cache_dir=None)
    assert "cannot be written" in refusal(tiny, tmp_path, cache_dir=tmp_path / "file")
    assert "must end in .pdf, .png" in refusal(tiny, tmp_path, picture=tmp_path / "a.txt")
    assert "there is no folder" in refusal(tiny, tmp_path, picture=tmp_path / "b/a.png")


def test_a_picture_needs_matplotlib(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "find_spec", lambda _: None)
    message = refusal(tiny, tmp_path, picture=tmp_path / "a.png")
    assert "matplotlib is not installed" in message


def test_broken_images_are_left_out_unless_all_are(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"no image")
    assert "would refuse every image; " in refusal(tiny, tmp_path, images=folder)
    shutil.copy(tiny / "golden/ant_0.png", folder)
    # One second: the photos are looked at, and nothing can be loaded.
    message = refusal(tiny, tmp_path, images=folder, budget_s=1)
    assert f"left out: {folder / 'broken.png'}: " in caplog.text
    assert "--budget-s 1 is too small to compare anything" in message


def test_what_no_server_would_be_sent_is_left_out(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    os.mkfifo(folder / "pipe.jpg")
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(2**40)
    shutil.copy(tiny / "golden/ant_0.png", folder)
    [photo] = choose_photos(folder, TRANSFORM, ImageLimits())
    assert photo.name == "ant_0.png"
    assert "pipe.jpg: it is no file" in caplog.text
    assert "sparse.jpg: the image has 1099511627776 bytes; max_image_bytes allows" in caplog.text


def test_a_name_that_is_no_unicode_reaches_the_worker(tiny: Path, tmp_path: Path) -> None:
    photo = shutil.copy(tiny / "golden/ant_0.png", tmp_path / os.fsdecode(b"\xff.png"))
    settings = {"buckets": [1], "instances": 1, "cache_dir": str(tmp_path)}
    with Worker(Job(model=tiny, settings=settings, photos=[photo])) as worker:
        worker.loaded(60)
        assert worker.ask(Turn(seconds=0.01, in_flight=1), Result, 60).answered


def test_what_is_no_bundle_is_named_without_a_traceback(tmp_path: Path) -> None:
    done = run(tmp_path, "--images", SAMPLES, "--cache-dir", tmp_path / "cache")
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path} is not a bundle: it holds no manifest.json\n"


def test_the_bundle_says_which_precisions_cost_how_much() -> None:
    bundle = Bundle.open(SHIPPED)
    assert drops(bundle) == {"fp32": 0.0, "int8": pytest.approx(0.03)}
    precisions, left_out = allowed(bundle, "fp32", 0.0)
    assert precisions == ["fp32"]
    assert left_out == ["int8: loses 0.03 points of top-1; --max-accuracy-drop 0"]
    assert allowed(bundle, "fp32", 0.02)[0] == ["fp32"]
    assert allowed(bundle, "fp32", 0.05) == (["fp32", "int8"], [])


def test_a_precision_that_loses_nothing_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "drops", lambda _: {"int8": -0.1})
    assert allowed(Bundle.open(SHIPPED), "fp32", 0.05)[0] == ["fp32", "int8"]
    assert allowed(Bundle.open(SHIPPED), "fp32", 0.0)[0] == ["fp32"]


def test_where_there_is_nothing_to_choose_the_defaults_are_best(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_module, "stages", lambda *_: [])
    flags = {"model": tiny, "images": tiny / "golden", "cache_dir": tmp_path, "budget_s": 60}
    tune(TuneConfig.model_validate(flags))
    assert "The defaults are best" in capsys.readouterr().out
    [path] = (tmp_path / "tune").iterdir()
    assert json.loads(path.read_text())["settings"] is None


def test_a_precision_without_a_record_is_left_out(tmp_path: Path) -> None:
    copy = shutil.copytree(SHIPPED, tmp_path / "1")
    stated = json.loads((copy / "parity.json").read_text())
    for file in stated["files"]:
        file["scores"] = None
    (copy / "parity.json").write_text(json.dumps(stated))
    reseal(copy)
    precisions, left_out = allowed(Bundle.open(copy), "fp32", 5.0)
    assert precisions == ["fp32"]
    assert left_out == ["int8: no record of its accuracy; --max-accuracy-drop 100 allows it"]
    assert allowed(Bundle.open(copy), "fp32", 100.0) == (["fp32", "int8"], [])
