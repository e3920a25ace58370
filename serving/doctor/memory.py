"""Is there memory for all models at once, and for what callers may have in flight?"""

import resource
from collections.abc import Iterator, Sequence

from serving.config import ServingConfig
from serving.doctor.finding import Case, Finding
from serving.doctor.load import Loaded
from serving.memory import Room, free

FEWER = "serve fewer models, lower --instances or --buckets, or allow more memory"
LOWER = (
    "nothing if callers are trusted; else allow more memory, or lower --max-transfer-bytes, "
    "--max-inflight-bytes, --max-message-bytes, --max-streams or --max-image-mib"
)


def check(case: Case) -> Iterator[Finding]:
    """Compare what was measured, and the most that callers may add, with every limit."""
    if not case.loaded:
        yield Finding("warn", "what the models take is unknown: none could be loaded", "see models")
        return
    rooms = [*free(case.root)]
    yield judge(needed(case.loaded), most_in_flight(case.config, case.loaded), rooms)
    if case.config.repository:
        yield judge_beside(beside(case.loaded), rooms)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield addresses(limit, case.loaded)


def needed(loads: Sequence[Loaded]) -> int:
    """Return the most that a server takes until all models are loaded, one after the other."""
    held, most = max(load.program_bytes for load in loads), 0
    for load in loads:
        most = max(most, held + load.peak_bytes)
        held += load.loaded_bytes
    return max(held, most)


def beside(loads: Sequence[Loaded]) -> int:
    """Return the most that a server takes while it loads a version like one of its own beside all.

    On a CPU that is a process of its own, with the program.
    """
    held = max(load.program_bytes for load in loads) + sum(load.loaded_bytes for load in loads)
    return held + max(load.program_bytes + load.peak_bytes for load in loads)


def most_in_flight(config: ServingConfig, loads: Sequence[Loaded]) -> int:
    """Return the most that callers may add: encoded images, decoded ones, messages, in bytes.

    Uploads and answers have a bound each on both ports; a quiet stream may hold a message.
    """
    of_each = config.max_inflight_bytes
    slots = sum(load.slot_bytes for load in loads) * config.max_inflight_images
    decoding = sum(load.decoders for load in loads) * config.max_image_mib * 2**20
    messages = 4 * config.max_transfer_bytes + config.max_streams * config.max_message_bytes
    return of_each * len(loads) + slots + decoding + messages


def judge(needs: int, in_flight: int, rooms: Sequence[Room]) -> Finding:
    """Return whether a server that needs so many bytes, and so many more, fits into all rooms."""
    smallest = min(rooms, key=lambda room: room.free)
    has = f"{_mib(smallest.free)} are free in {smallest.of}"
    takes = f"the server takes {_mib(needs)}"
    if needs > smallest.free:
        return Finding("fail", f"{takes}, but {has}", FEWER)
    if needs + in_flight > smallest.free:
        worst = f"callers that do their worst add up to {_mib(in_flight)}"
        return Finding("warn", f"{takes}, and {worst}, but {has}", LOWER)
    return Finding("ok", f"{takes}, in flight at most {_mib(in_flight)} more; {has}")


def judge_beside(needs: int, rooms: Sequence[Room]) -> Finding:
    """Return whether a new version may be loaded, with so many bytes in all, in all rooms."""
    smallest = min(rooms, key=lambda room: room.free)
    has = f"{_mib(smallest.free)} are free in {smallest.of}"
    takes = f"while a new version is loaded beside all others, {_mib(needs)}"
    if needs > smallest.free:
        advice = "allow more memory: else the kernel may end what loads it, or the server"
        return Finding("warn", f"{takes}, but {has}", advice)
    return Finding("ok", f"{takes}; {has}")


def addresses(limit: int, loads: Sequence[Loaded]) -> Finding:
    """Return whether the limit of addresses (ulimit -v) leaves enough for all models."""
    rest = sum(load.loaded_bytes for load in loads) - max(load.loaded_bytes for load in loads)
    needs = max(load.address_bytes for load in loads) + rest
    told = f"ulimit -v allows {_mib(limit)} of addresses; the models take {_mib(needs)}"
    advice = "ulimit -v unlimited: addresses are no memory; bound that by a cgroup"
    return Finding("fail" if needs > limit else "warn", told, advice)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
