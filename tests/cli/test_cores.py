"""Cores under the CPU quotas of cgroups, read from a made-up /proc and /sys."""

import os
from pathlib import Path

import pytest

from cli.cores import Cores, usable_cores

V2 = "0::/kubepods/pod1/c1\n"
V1 = "5:cpuset:/\n4:cpu,cpuacct:/docker/c1\n1:name=systemd:/docker/c1\n0::/docker/c1\n"
EIGHT = set(range(8))


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("", {}, Cores(8, None)),
        ("0::/\n", {"cpu.max": "max 100000\n"}, Cores(8, None)),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, Cores(8, 1.5)),
        (V2, {"kubepods/pod1/c1/cpu.max": "300000 100000\n"}, Cores(8, 3.0)),
        (V2, {"kubepods/pod1/c1/cpu.max": "max 100000\n"}, Cores(8, None)),
        # A group may not have more than those above it.
        (
            V2,
            {"kubepods/pod1/c1/cpu.max": "4000 1000\n", "kubepods/pod1/cpu.max": "25000 50000"},
            Cores(8, 0.5),
        ),
        (
            V1,
            {
                "cpu,cpuacct/docker/c1/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/docker/c1/cpu.cfs_period_us": "100000\n",
            },
            Cores(8, 2.5),
        ),
        # Inside a container its own group is the topmost.
        (
            V1,
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            },
            Cores(8, 4.0),
        ),
        (
            V1,
            {
                "cpu,cpuacct/docker/c1/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/docker/c1/cpu.cfs_period_us": "100000\n",
            },
            Cores(8, None),
        ),
    ],
)
def test_the_smallest_quota_counts(
    cgroup: str,
    files: dict[str, str],
    cores: Cores,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: EIGHT)
    for name, text in {
        "proc/self/cgroup": cgroup,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("cores", "usable", "text"),
    [
        (Cores(8, None), 8, "8 cores"),
        (Cores(8, 20.0), 8, "8 cores"),
        (Cores(8, 0.25), 1, "a CPU quota of 0.25 on 8 cores"),
        (Cores(64, 2.0), 2, "a CPU quota of 2 on 64 cores"),
        (Cores(64, 2.1), 3, "a CPU quota of 2.1 on 64 cores"),
    ],
)
def test_a_part_of_a_core_counts_as_one(cores: Cores, usable: int, text: str) -> None:
    assert (cores.usable, str(cores)) == (usable, text)


def test_this_machine_has_cores() -> None:
    assert 1 <= usable_cores().usable <= (os.cpu_count() or 1)
