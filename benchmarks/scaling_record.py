"""What a run of `benchmarks.scaling` writes down."""

from pydantic import BaseModel, Field

from benchmarks.records import Record
from benchmarks.scaling_costs import Cost, Costs, DeviceCurve

HEADER = "front ends", "cores", "img/s", "bound", "its time", "mean ms"
CHECK_HEADER = (
    "front ends", "images per request", "img/s measured", "img/s simulated", "error", "bound",
)  # fmt: skip
COST_HEADER = "work", "from", "ms per image"


class Point(BaseModel):
    """What a server of some size would do."""

    frontends: int
    cores: int
    images_per_second: float
    mean_ms: float = Field(description="from request to answer")
    bound: str = Field(description="what has no time left: device, cores, engine, front ends")
    shares: dict[str, float] = Field(description="of its time that each part works")

    def cells(self) -> list[str]:
        """Return a row of the table."""
        return [
            str(self.frontends),
            str(self.cores),
            f"{self.images_per_second:,.0f}",
            self.bound,
            f"{max(self.shares.values()):.0%}",
            f"{self.mean_ms:.0f}",
        ]


class Check(BaseModel):
    """A run that was measured, beside the same one simulated."""

    frontends: int
    images_per_request: int
    measured: float = Field(description="images per second")
    simulated: float = Field(description="images per second")
    bound: str

    def cells(self) -> list[str]:
        """Return a row of the table."""
        return [
            str(self.frontends),
            str(self.images_per_request),
            f"{self.measured:,.0f}",
            f"{self.simulated:,.0f}",
            f"{self.simulated / self.measured - 1:+.0%}",
            self.bound,
        ]


class ScalingRecord(Record):
    """A run of this simulation."""

    costs: Costs
    device: DeviceCurve
    in_flight: int
    checks: list[Check] = Field(description="empty if no run was read")
    points: list[Point]


def cost_cells(costs: Costs) -> list[list[str]]:
    """Return the rows of the table of costs."""
    names = {
        "alone": "a server without front ends, beside decoding",
        "engine": "the engine process with front ends",
        "frontend": "a front end, beside decoding",
        "decode": "decoding",
        "locked": "of that under Python's lock",
    }
    found: dict[str, Cost] = dict(costs)
    return [[name, found[key].source, f"{found[key].ms:.3f}"] for key, name in names.items()]
