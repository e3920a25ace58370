"""How the server ends, and what it says."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from serving.settings.types import DAY_S, Seconds


class LifeSettings(BaseSettings):
    """Drain and logs."""

    shutdown_delay_s: float = Field(
        0.0,
        ge=0,
        le=DAY_S,
        description="time after SIGTERM during which calls are still answered while health is "
        "NOT_SERVING, in seconds; set it to the time that load balancers take to notice",
    )
    grace_period_s: Seconds = Field(
        30.0,
        description="time to finish requests in flight after that delay, in seconds; one more "
        "second, and the process ends, whatever still runs",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest severity of messages that are logged, to stderr"
    )
