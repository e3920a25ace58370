"""What the benchmark of MindSpore Lite found."""

from statistics import median, quantiles

from pydantic import BaseModel, Field

from benchmarks.records import Record

HEADER = ("what", "median", "best", "worst")


class Round(BaseModel):
    """Images per second of the bare loop and, right after it, of the server."""

    bare: float
    server: float


class LiteRecord(Record):
    """A run of this benchmark."""

    model: str
    digest: str
    batch: int
    instances: int
    in_flight: int
    duration_s: float
    rounds: list[Round]
    handover_model: str
    handover_batch: int
    handover_ms: list[float] = Field(description="of each batch, sorted")

    def rows(self) -> list[list[str]]:
        """Return the table's rows."""
        ratios = sorted(r.server / r.bare for r in self.rounds)
        p90 = quantiles(self.handover_ms, n=10)[-1]
        return [
            _row("bare loop, img/s", [r.bare for r in self.rounds]),
            _row("server, img/s", [r.server for r in self.rounds]),
            ["server / bare", f"{median(ratios):.1%}", f"{ratios[-1]:.1%}", f"{ratios[0]:.1%}"],
            [
                f"hand-over of a batch of {self.handover_batch}, ms",
                f"{median(self.handover_ms):.3f}",
                f"{self.handover_ms[0]:.3f}",
                f"{p90:.3f} (90th percentile)",
            ],
        ]


def _row(name: str, rates: list[float]) -> list[str]:
    return [name, f"{median(rates):.3f}", f"{max(rates):.3f}", f"{min(rates):.3f}"]
