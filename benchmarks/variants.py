"""Variants of how a file runs on a device: other options of its provider, or another graph."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, Field, ValidationError

from bundle.manifest import Precision
from cli.program import UsageError

USUAL = "usual"
UNMERGED, AT_ONCE = "unmerged", "capture-at-once"
HEADER = (
    "precision", "variant", "batch", "opened s", "first run s", "capture s", "ms", "img/s",
    "img/s with copies", "largest difference", "replayed after the others",
)  # fmt: skip
# Of what a process said before it failed: its end says why.
LAST_CHARACTERS = 1500


class Variant(NamedTuple):
    """What is changed about the usual way to run a file.

    Args:
        options: of the provider, by name.
        unmerged: whether merged groups of convolutions become what they were.
        at_once: whether a batch's first run is captured, without others before it.
    """

    options: dict[str, str]
    unmerged: bool = False
    at_once: bool = False

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Return what a text such as "prefer_nhwc=0+fuse_conv_bias=1" means.

        Raises:
            UsageError: it is neither that nor a word that is known.
        """
        words = set(text.split("+"))
        options = {word for word in words if word.partition("=")[2]}
        unknown = words - options - {USUAL, UNMERGED, AT_ONCE}
        if unknown or (USUAL in words and len(words) > 1):
            raise UsageError(
                f"variant {text!r}: write {USUAL!r}, or join with + what changes: options of the "
                f"provider, as use_tf32=1, {UNMERGED!r}, {AT_ONCE!r}"
            )
        pairs = dict(sorted(option.split("=", 1) for option in options))
        return cls(pairs, UNMERGED in words, AT_ONCE in words)


class BatchTimes(BaseModel):
    """Batches of one size."""

    batch: int
    first_s: float | None = Field(None, description="of the first run, with all that it plans")
    capture_s: float | None = Field(None, description="of the run that is captured as a graph")
    ms: float | None = Field(None, description="per batch, one after another, without copies")
    ms_with_copies: float | None = Field(None, description="pixels there, probabilities back")
    difference: float | None = Field(None, description="largest, from the golden probabilities")
    replay_difference: float | None = Field(
        None, description="the same, of other places in the batch, after all sizes have run"
    )
    error: str | None = None


class VariantTimes(BaseModel):
    """A variant of one file; what it did not come to is null, and `error` says why."""

    precision: Precision
    variant: str
    opened_s: float | None = None
    batches: list[BatchTimes] = []
    error: str | None = None

    def rows(self) -> Iterator[list[str]]:
        """Yield a row of the table per batch size, and what failed."""
        first = [self.precision, self.variant]
        for times in self.batches:
            yield [*first, str(times.batch), _figure(self.opened_s, ".1f"), *_cells(times)]
        if self.error:
            yield [*first, "-", _figure(self.opened_s, ".1f"), *[""] * 6, _short(self.error)]

    @property
    def failed(self) -> bool:
        """Whether something of it failed."""
        return bool(self.error) or any(times.error for times in self.batches)


def measure(
    flags: Sequence[str | Path], precision: Precision, variant: str, timeout_s: float
) -> VariantTimes:
    """Measure a variant in a process of its own: a CUDA error spoils all sessions of a process.

    Args:
        flags: of `python -m benchmarks.gpu_session`, besides precision and variant.
        precision: of the file.
        variant: as `Variant.parse` takes it.
        timeout_s: seconds until the process is ended; what it measured before counts.
    """
    command = [sys.executable, "-m", "benchmarks.gpu_session", *map(str, flags)]
    command += ["--precision", precision, "--variant", variant]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)  # noqa: S603
        output, said = done.stdout, done.stderr.decode(errors="replace").strip()
        failure = f"exit code {done.returncode}: {said[-LAST_CHARACTERS:]}" * bool(done.returncode)
    except subprocess.TimeoutExpired as error:
        output, failure = error.stdout or b"", f"not done after {timeout_s:.0f} s"
    times = _last(output) or VariantTimes(precision=precision, variant=variant)
    return times.model_copy(update={"error": failure}) if failure else times


def _last(output: bytes) -> VariantTimes | None:
    """Return the last whole line: the process prints all that it knows after every step."""
    for line in reversed(output.split(b"\n")):
        try:
            return VariantTimes.model_validate(json.loads(line))
        except (ValueError, ValidationError):
            continue
    return None


def _cells(times: BatchTimes) -> list[str]:
    if times.error:
        return ["", "", "", "", "", "", _short(times.error)]
    ms, whole = times.ms, times.ms_with_copies
    return [
        _figure(times.first_s, ".2f"),
        _figure(times.capture_s, ".2f"),
        _figure(ms, ".2f"),
        _figure(ms and times.batch / ms * 1e3, ".1f"),
        _figure(whole and times.batch / whole * 1e3, ".1f"),
        _figure(times.difference, ".2g"),
        _figure(times.replay_difference, ".2g"),
    ]


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _short(error: str) -> str:
    """Return the last line of an error, as far as a cell of Markdown takes it."""
    return error.strip().rpartition("\n")[2][:200].replace("|", "/")
