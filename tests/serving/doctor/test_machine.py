"""What the machine gives: ports, files, clock, cores, user, variables, memory, threads."""

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.config import ServingConfig
from serving.doctor import clock, descriptors, memory, variables
from serving.doctor.cache import engines
from serving.doctor.memory import beside, judge, judge_beside, most_in_flight, needed
from serving.memory import Room, free
from tests.serving.doctor.conftest import MIB, Checked, loaded, write
from tests.support.paths import ROOT

ACCESSIBLE = "0::/pod\n"


def limited(subject: str, limits: str, *flags: str) -> list[str]:
    """Run a check under real limits, which cannot be raised again; return what it finds."""
    script = (
        "import sys; from pydantic_settings import CliApp; from serving.doctor.config import *\n"
        "from serving.doctor.finding import Case\n"
        f"from serving.doctor.{subject} import check\n"
        "config = CliApp.run(DoctorConfig, cli_args=sys.argv[1:])\n"
        "for finding in check(Case(config)): print(*finding, sep='|')"
    )
    command = f'{limits} && exec "$@"'
    words = ["bash", "-c", command, "bash", sys.executable, "-c", script, "bundle", *flags]
    done = subprocess.run(words, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    [line] = done.stdout.splitlines()
    return line.split("|")


def test_a_taken_port_is_found_and_the_other_is_not_blamed(checked: Checked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        grpc, http = checked("ports", grpc_port=port)
    assert (grpc.status, http.status) == ("fail", "ok")
    assert f"cannot listen on 127.0.0.1:{port} for gRPC: Address already in use" in grpc.found
    assert "ss -ltnp" in grpc.advice
    assert [finding.status for finding in checked("ports", grpc_port=port)] == ["ok", "ok"]


def test_one_port_for_both_is_told_as_that(checked: Checked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    grpc, http = checked("ports", grpc_port=port, http_port=port)
    assert (grpc.status, http.status) == ("ok", "fail")
    assert http.advice == "give --grpc-port and --http-port different numbers"


def test_an_address_of_another_machine_cannot_be_listened_on(checked: Checked) -> None:
    findings = checked("ports", host="192.0.2.1", insecure=True)
    assert [finding.status for finding in findings] == ["fail", "fail"]
    assert "Cannot assign requested address" in findings[0].found


@pytest.mark.parametrize(
    ("limit", "status", "told"),
    [
        (200, "fail", "200 files may be open, and a server alone needs up to 256"),
        (2000, "warn", "there can be 1000 of --max-connections 1500 and 500 of --max-http-conn"),
        (3000, "warn", "there can be 750 of --max-http-connections 800"),
        (3200, "ok", "3200 files may be open: enough for all connections"),
    ],
)
def test_files_are_compared_with_connections(limit: int, status: str, told: str) -> None:
    flags = ("--max-connections", "1500", "--max-http-connections", "800")
    found = limited("descriptors", f"ulimit -n {limit}", *flags)
    assert found[0] == status
    assert told in found[1]
    assert bool(found[2]) is (status != "ok")


def test_the_server_raises_the_limit_for_grpc_alone() -> None:
    config = ServingConfig.model_validate({"model": ["bundle"], "max_connections": 100})
    [finding] = descriptors.judge(config, 1024, 10**6)
    assert finding.status == "warn"
    assert "there can be 345 of --max-http-connections 1024" in finding.found
    [finding] = descriptors.judge(config, 4096, 10**6)
    assert finding.status == "ok"
    [finding] = descriptors.judge(config, 10, resource.RLIM_INFINITY)
    assert finding.status == "ok"


@pytest.mark.parametrize(
    ("now", "status", "worst", "told"),
    [
        (2e9, 0, "ok", "the clock says 2033-05-18 03:33:20 UTC, and is synchronised"),
        (2e9, clock.UNSYNCHRONISED, "warn", "nothing keeps it"),
        (2e9, None, "warn", "unknown"),
        (
            1e6,
            0,
            "warn",
            "1970-01-12 13:46:40 UTC, before this program's files (2001-09-09 01:46:40 UTC)",
        ),
    ],
)
def test_the_clock_is_kept_and_not_in_the_past(
    now: float, status: int | None, worst: str, told: str
) -> None:
    [finding] = clock.judge(now, 1e9, status, matters=False)
    assert finding.status == worst
    assert told in finding.found
    assert bool(finding.advice) is (worst != "ok")


def test_a_clock_in_the_past_fails_where_certificates_depend_on_it() -> None:
    [finding] = clock.judge(1e6, 1e9, 0, matters=True)
    assert finding.status == "fail"


def test_the_kernel_is_asked(checked: Checked) -> None:
    [finding] = checked("clock")
    assert finding.status in ("ok", "warn")
    assert "unknown" not in finding.found


def test_threads_beyond_the_cores_and_a_part_of_a_core_are_warned_of(
    checked: Checked, tmp_path: Path
) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": ACCESSIBLE,
            "sys/fs/cgroup/pod/cpu.max": "25000 100000",
        },
    )
    cores, computing, pauses = checked("cpu", instances=2, threads=3)
    assert "this process may use a CPU quota of 0.25 on" in cores.found
    assert computing.status == pauses.status == "warn"
    assert (
        "2 instances x 3 threads compute, but this process may use a CPU quota" in computing.found
    )
    assert "stops every thread for about 75 of each 100 ms" in pauses.found


def test_threads_that_fit_are_fine(checked: Checked) -> None:
    assert {finding.status for finding in checked("cpu", instances=1)} == {"ok"}


def test_root_is_warned_of(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    for user, status in ((0, "warn"), (1000, "ok")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        [finding] = checked("user")
        assert finding.status == status


def test_a_variable_that_names_no_setting_is_found(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVING_GRCP_PORT", "1")
    monkeypatch.setenv("serving_http_port", "2")
    [finding] = checked("variables")
    assert finding.status == "warn"
    assert "SERVING_GRCP_PORT is set, and no setting has that name" in finding.found
    assert finding.advice == "rename it to SERVING_GRPC_PORT"


def test_what_is_like_no_setting_gets_no_guess() -> None:
    [finding] = variables.unknown({"SERVING_XYZZY": "", "PATH": ""})
    assert finding.advice == "unset it, or see --help for the names"


def test_what_slows_libraries_down_is_found(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [finding.status for finding in checked("variables")] == ["ok"]
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    assert len(checked("variables")) == 1
    assert len(checked("variables", device="cuda")) == 2


def test_a_device_that_is_not_there_fails(checked: Checked) -> None:
    cpu, gpu = checked("devices")[0], checked("devices", device="cuda:99")[0]
    assert cpu.status == "ok"
    assert cpu.found.startswith("cpu: onnxruntime")
    assert gpu.status == "fail"
    assert gpu.found.startswith("nothing runs on cuda:99: onnxruntime: ")


def test_a_folder_for_engines_must_be_writable(tmp_path: Path, checked: Checked) -> None:
    (tmp_path / "file").touch()
    assert engines(tmp_path / "new/folder").status == "ok"
    finding = engines(tmp_path / "file/folder")
    assert finding.status == "warn"
    assert f"{tmp_path / 'file'} is not writable" in finding.found
    [finding] = checked("cache", device="tensorrt", cache_dir=tmp_path / "file")
    assert finding.status == "warn"


def test_shared_memory_counts_where_it_is_needed(checked: Checked, tmp_path: Path) -> None:
    (tmp_path / "dev/shm").mkdir(parents=True)
    for size, status in ((0, "ok"), (1, "ok"), (2**60, "fail")):
        [finding] = checked("shared_memory", loads=[loaded(shared_bytes=size)])
        assert finding.status == status


def test_threads_are_counted_against_the_smallest_limit(checked: Checked, tmp_path: Path) -> None:
    two = [loaded(), loaded()]
    [finding] = checked("threads", loads=two)
    assert finding.found == "about 48 threads are needed, and no cgroup limits them"
    files = {
        "proc/self/cgroup": "8:pids:/pod/c1\n",
        "sys/fs/cgroup/pids/pod/c1/pids.max": "max",
        "sys/fs/cgroup/pids/pod/c1/pids.current": "5",
        "sys/fs/cgroup/pids/pod/pids.max": "100",
        "sys/fs/cgroup/pids/pod/pids.current": "52",
    }
    write(tmp_path, files)
    [finding] = checked("threads", loads=two)
    assert finding.status == "ok"
    write(tmp_path, {"sys/fs/cgroup/pids/pod/pids.current": "53"})
    [finding] = checked("threads", loads=two)
    assert finding.status == "fail"
    assert finding.found.endswith("pids/pod allows 47 more")


V2 = {
    "proc/self/cgroup": ACCESSIBLE,
    "sys/fs/cgroup/pod/memory.max": str(500 * MIB),
    "sys/fs/cgroup/pod/memory.current": str(300 * MIB),
    "sys/fs/cgroup/pod/memory.stat": f"anon 5\ninactive_file {100 * MIB}\n",
}
V1 = {
    "proc/self/cgroup": "4:memory:/pod\n",
    "sys/fs/cgroup/memory/pod/memory.limit_in_bytes": str(500 * MIB),
    "sys/fs/cgroup/memory/pod/memory.usage_in_bytes": str(300 * MIB),
    "sys/fs/cgroup/memory/pod/memory.stat": f"total_inactive_file {100 * MIB}\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
}
MACHINE = {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    1048576 kB\n"}


@pytest.mark.parametrize(
    ("files", "rooms"),
    [(V2, [1024, 300]), (V1, [1024, 300]), ({}, [1024])],
)
def test_memory_is_free_under_each_limit(
    files: dict[str, str], rooms: list[int], tmp_path: Path
) -> None:
    write(tmp_path, MACHINE | files)
    assert [room.free // MIB for room in free(tmp_path)] == rooms


def test_models_are_held_while_the_next_one_loads() -> None:
    assert needed([loaded()]) == (50 + 150) * MIB
    assert needed([loaded(), loaded()]) == (50 + 100 + 150) * MIB
    last = loaded(loaded_bytes=10 * MIB, peak_bytes=20 * MIB)
    assert needed([loaded(), loaded(), last]) == (50 + 100 + 150) * MIB


def test_a_version_that_is_loaded_beside_others_needs_a_program_of_its_own() -> None:
    assert beside([loaded(), loaded(peak_bytes=200 * MIB)]) == (50 + 2 * 100 + 50 + 200) * MIB
    rooms = [Room("the machine", 450 * MIB)]
    assert judge_beside(450 * MIB, rooms).status == "ok"
    lack = judge_beside(451 * MIB, rooms)
    assert lack.status == "warn"
    assert lack.found.endswith("451 MiB, but 450 MiB are free in the machine")


def test_memory_that_is_missing_for_models_fails_and_for_callers_warns() -> None:
    rooms = [Room("the machine", 1000 * MIB), Room("the cgroup x", 200 * MIB)]
    assert judge(150 * MIB, 50 * MIB, rooms).status == "ok"
    worst = judge(150 * MIB, 51 * MIB, rooms)
    assert worst.status == "warn"
    assert "callers that do their worst add up to 51 MiB" in worst.found
    assert "--max-inflight-bytes" in worst.advice
    lack = judge(201 * MIB, 0, rooms)
    assert lack.status == "fail"
    assert lack.found == "the server takes 201 MiB, but 200 MiB are free in the cgroup x"


def test_a_container_that_is_too_small_fails(checked: Checked, tmp_path: Path) -> None:
    write(tmp_path, MACHINE | V2)
    [finding] = checked("memory", loads=[loaded(peak_bytes=300 * MIB)])
    assert finding.status == "fail"
    [finding] = checked("memory", loads=[])
    assert finding.status == "warn"


def test_what_callers_may_add_follows_the_settings() -> None:
    def worst(**settings: object) -> int:
        config = ServingConfig.model_validate({"model": ["bundle"], **settings})
        return most_in_flight(config, [loaded()])

    usual = worst()
    assert usual == 512 * MIB + 768 * 1024 + 4 * 280 * MIB + 4 * 1024 * MIB + 32 * 32 * MIB
    assert usual - worst(max_inflight_bytes=511 * MIB) == MIB
    assert usual - worst(max_image_mib=279) == 4 * MIB
    assert usual - worst(max_transfer_bytes=1023 * MIB) == 4 * MIB


def test_a_limit_of_addresses_is_never_right() -> None:
    for limit, status in ((1100, "warn"), (1099, "fail")):
        finding = memory.addresses(limit * MIB, [loaded(), loaded()])
        assert finding.status == status
        assert "ulimit -v" in finding.found


def test_it_is_looked_for(
    checked: Checked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path, MACHINE)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5000 * MIB, -1))
    assert [finding.status for finding in checked("memory", loads=[loaded()])] == ["warn", "warn"]
