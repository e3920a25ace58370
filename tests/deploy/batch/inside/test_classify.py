"""The command on one machine: rows, exit codes, and runs that go on."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import QUICK, arguments, parts, picture, rows, write_pictures, write_tar

from clients.client import ClassifierClient
from clients.errors import ClassifierError
from deploy.batch.errors import DatasetError
from deploy.batch.target import ATTEMPTS, Target
from deploy.ray.classify_dataset import main
from tests.support.paths import ROOT, SHIPPED
from tests.support.process import Server, serve

Classify = Callable[..., int]
LABELS = json.loads((SHIPPED / "manifest.json").read_text())["labels"]


def counts(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Return the table that was printed at the end."""
    return {
        status: int(count)
        for status, count in re.findall(r"^([A-Z]+) +(\d+)$", capsys.readouterr().out, re.MULTILINE)
    }


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(SHIPPED, *QUICK) as server:
        yield server


def test_a_folder_gives_the_servers_answers_bit_for_bit(
    classify: Classify, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_pictures(tmp_path / "photos", 40)
    assert classify(tmp_path / "photos", "--all-probabilities", "--top-k", "3") == 0
    assert counts(capsys) == {"OK": 40}
    held = rows(tmp_path / "rows")
    assert [row["path"] for row in held] == [*map(str, paths)]
    with ClassifierClient(server.grpc) as client:
        for row, path in zip(held, paths, strict=True):
            [answer] = client.classify([path.read_bytes()], top_k=0, full_probabilities=True)
            assert row["all_probabilities"] == list(answer.probabilities)
            assert row["labels"] == [one.label for one in answer.classes[:3]]
            assert row["probabilities"] == [one.probability for one in answer.classes[:3]]
            assert (row["key"], row["status"], row["reason"]) == (None, "OK", None)


def test_a_bad_image_costs_only_its_row(
    classify: Classify, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    good = write_pictures(photos, 3)
    bomb = picture(1, 28)[:16] + (60_000).to_bytes(4, "big") * 2 + picture(1, 28)[24:]
    bad = {"bomb.png": bomb, "empty.png": b"", "text.png": b"no image", "cut.png": picture(1)[:60]}
    for name, data in bad.items():
        (photos / name).write_bytes(data)
    (photos / "gone.png").symlink_to(tmp_path / "nowhere")
    odd = os.fsencode(photos) + b"/\xff.png"
    Path(os.fsdecode(odd)).write_bytes(picture(7))
    assert classify(photos, "--all-probabilities") == 0
    assert counts(capsys) == {"OK": 4, "INVALID": 4, "UNREADABLE": 1}
    held = {Path(row["path"]).name: row for row in rows(tmp_path / "rows")}
    assert set(held) == {*bad, "gone.png", r"\xff.png", *(path.name for path in good)}
    assert held[r"\xff.png"]["status"] == "OK"
    assert held["gone.png"]["reason"] == "the file cannot be read: No such file or directory"
    with ClassifierClient(server.grpc) as client:
        for name, data in bad.items():
            row = held[name]
            assert row["status"] == "INVALID"
            assert row["labels"] is row["probabilities"] is row["all_probabilities"] is None
            with pytest.raises(ClassifierError) as refusal:
                client.classify([data])
            assert row["reason"] in str(refusal.value)


def test_no_answer_at_all_is_a_failure(classify: Classify, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    assert classify(tmp_path / "x.png") == 1
    [row] = rows(tmp_path / "rows")
    assert row["status"] == "INVALID"


def test_tars_and_parquet_files_have_keys(classify: Classify, tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "x.tar", [("a.png", picture(1)), ("a.txt", b""), ("b.png", picture(2))]
    )
    assert classify(tar, target=tmp_path / "of_tar") == 0
    assert [(row["path"], row["key"]) for row in rows(tmp_path / "of_tar")] == [
        (str(tar), "a.png"),
        (str(tar), "b.png"),
    ]
    table = pa.table({"image": [picture(1), picture(2)], "id": [7, 8]})
    pq.write_table(table, tmp_path / "x.parquet")
    flags = ("--column", "image", "--key-column", "id")
    assert classify(tmp_path / "x.parquet", *flags, target=tmp_path / "of_rows") == 0
    of_rows = rows(tmp_path / "of_rows")
    assert [row["key"] for row in of_rows] == ["7", "8"]
    assert [row["probabilities"] for row in of_rows] == [
        row["probabilities"] for row in rows(tmp_path / "of_tar")
    ]


def test_a_run_that_is_over_is_not_done_again(
    classify: Classify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 5)
    assert classify(tmp_path / "photos", "--shard-images", "2") == 0
    held = parts(tmp_path / "rows")
    written = [part.stat().st_mtime_ns for part in held]
    assert len(held) == 3
    capsys.readouterr()
    assert classify(tmp_path / "photos", "--shard-images", "2", "--readers", "1") == 0
    assert [part.stat().st_mtime_ns for part in held] == written
    assert counts(capsys) == {"OK": 5}


def test_a_run_goes_on_with_what_it_began_with(classify: Classify, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    paths = write_pictures(photos, 7)
    assert classify(photos, "--shard-images", "3") == 0
    before = rows(tmp_path / "rows")
    (tmp_path / "rows/part-000001.parquet").unlink()
    (tmp_path / "rows/._part-000001.parquet.host.1.2.tmp").touch()  # of a process that was killed
    (photos / "ants/0000a.png").write_bytes(picture(99))  # came later
    assert classify(photos, "--shard-images", "3") == 0
    assert rows(tmp_path / "rows") == before
    assert [row["path"] for row in before] == [*map(str, paths)]
    assert not list((tmp_path / "rows").glob("._*"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--top-k", "2"), "has a run with top_k 5, and this one has 2"),
        (("--all-probabilities",), "has a run with all_probabilities False, and this one has True"),
        (("--shard-images", "9"), "has a run with shard_images 1000, and this one has 9"),
        (("--precision", "int8"), "has a run with precision None, and this one has int8"),
    ],
)
def test_a_run_of_something_else_is_refused(
    classify: Classify,
    finished: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    said: str,
) -> None:
    photos, target = finished
    capsys.readouterr()
    assert classify(photos, *flags, target=target) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "go on with what" in error


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("finished")
    write_pictures(folder / "photos", 2)
    assert main(arguments(folder / "photos", folder / "rows", *QUICK)) == 0
    return folder / "photos", folder / "rows"


def test_a_run_that_wrote_nothing_may_begin_anew(classify: Classify, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 2)
    assert classify(tmp_path / "photos", "--device", "cuda:7") == 1
    assert classify(tmp_path / "photos", "--top-k", "1") == 0
    assert [len(row["labels"]) for row in rows(tmp_path / "rows")] == [1, 1]


def test_a_damaged_part_is_found(
    classify: Classify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "photos", 2)
    assert classify(tmp_path / "photos") == 0
    part = tmp_path / "rows/part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert classify(tmp_path / "photos") == 1
    assert f"{part} cannot be read: " in capsys.readouterr().err
    part.unlink()
    assert classify(tmp_path / "photos") == 0


def test_one_run_at_a_time(
    classify: Classify, finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    photos, target = finished
    with Target(target).locked():
        assert classify(photos, target=target) == 1
    assert "another run is writing it now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("file", "is a file; name a folder"),
        ("file/below", "cannot be written: Not a directory"),
        ("full", "is not empty, and not of a run of this program (it holds notes.txt)"),
        ("/proc/rows", "cannot be written: No such file or directory"),
    ],
)
def test_a_target_that_is_not_usable(
    classify: Classify, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, said: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    write_pictures(tmp_path / "photos", 1)
    assert classify(tmp_path / "photos", target=tmp_path / target) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: TARGET")


FULL_DISK = """
import resource, sys
from deploy.batch import local
from deploy.ray.classify_dataset import main

make_worker = local.make_worker

def make_worker_and_fill_the_disk(*arguments):
    worker = make_worker(*arguments)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
    return worker

local.make_worker = make_worker_and_fill_the_disk
sys.exit(main())
"""


def test_a_full_disk_is_told_and_gone_on_after(tmp_path: Path) -> None:
    """A limit of the size of files stands for the disk: their error differs only in its number."""
    write_pictures(tmp_path / "photos", 300)
    photos, target = tmp_path / "photos", tmp_path / "rows"
    flags = ("--shard-images", "100", "--all-probabilities", *QUICK)
    limited = [sys.executable, "-c", FULL_DISK, *arguments(photos, target, *flags)]
    done = subprocess.run(limited, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "cannot be written: File too large; what is written stays" in done.stderr
    assert "Traceback" not in done.stderr
    assert not parts(target)
    assert main(arguments(photos, target, *flags)) == 0
    assert len(rows(target)) == 300


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["x.png", "rows"], "--model", 2),
        (["x.png", "rows", "--model", "a,b"], "--model", 2),
        (["x.png", "rows", "--model", "nowhere"], "nowhere is not a bundle", 1),
        (["nowhere", "rows", "--model", str(SHIPPED)], "SOURCE: there is no", 1),
        (["x.png", "rows", "--model", str(SHIPPED), "--column", "a"], "are for Parquet files", 1),
        (["x.png", "rows", "--model", str(SHIPPED), "--device", "tpu"], "unknown device 'tpu'", 1),
        (["x.png"], "TARGET", 2),
        (["s3://a/b", "rows", "--model", str(SHIPPED)], "s3://a/b is an address; copy or mount", 2),
    ],
)
def test_a_wrong_call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
    code: int,
) -> None:
    (tmp_path / "x.png").write_bytes(picture(1))
    monkeypatch.chdir(tmp_path)
    assert main(words) == code
    assert said in capsys.readouterr().err


def test_a_bundle_that_does_not_prove_itself_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    (bundle / "manifest.json").write_text((bundle / "manifest.json").read_text() + "\n")
    write_pictures(tmp_path / "photos", 1)
    words = [str(tmp_path / "photos"), str(tmp_path / "rows"), "--model", str(bundle)]
    assert main(words) == 1
    assert "changed since it was sealed: manifest.json" in capsys.readouterr().err
    assert not (tmp_path / "rows").exists()


def test_what_kills_every_process_is_given_up(tmp_path: Path) -> None:
    """The marks that `attempt` leaves are those of processes that did not come to its end."""
    target = Target(tmp_path)
    for _ in range(ATTEMPTS):
        with target.attempt(7):
            pass  # those that do, leave none
    for _ in range(ATTEMPTS):
        dies = "from pathlib import Path; from deploy.batch.target import Target; import os, sys\n"
        dies += "with Target(Path(sys.argv[1])).attempt(7): os._exit(0)"
        subprocess.run([sys.executable, "-c", dies, tmp_path], cwd=ROOT, check=True)
    with (
        pytest.raises(DatasetError, match=r"5 workers died while they worked on .*part-000007"),
        target.attempt(7),
    ):
        pass
    with target.attempt(8):
        pass
