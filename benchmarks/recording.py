"""`python -m benchmarks.recording`: what ids, the access log and tracing cost each call.

Measured is the CPU time of gRPC's thread, which every call passes through, for calls that are
answered at once: the rest of a request would only add noise. All take turns in one process.
"""

from pydantic import Field, PositiveInt

from benchmarks.command import Benchmark, configured, start
from cli.tables import show_rows


class Recording(Benchmark):
    """Measure what ids, the access log and tracing cost each call."""

    model_config = configured("benchmarks.recording")

    rounds: PositiveInt = Field(60, description="how often all take turns")
    calls: PositiveInt = Field(500, description="calls in each turn")

    def run(self) -> None:
        """Measure, and print the table."""
        from benchmarks.recording_calls import BASE, measure

        # The least: whatever else runs on the machine can only add to a turn.
        took = {name: min(turns) for name, turns in measure(self.rounds, self.calls).items()}
        rows = [[name, f"{us:.1f}", f"{us - took[BASE]:+.1f}"] for name, us in took.items()]
        headings = ("calls", "CPU µs", "difference")
        show_rows(headings, rows, title="gRPC's thread, per call", text_columns=1)


if __name__ == "__main__":
    start(Recording)
