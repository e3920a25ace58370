"""Weights & Biases: files in the run's folder; with WANDB_MODE=online its server."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

# Before the import: it would report its errors to its makers.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from training.trackers.tracker import Ending, Values

RUN_ID = "wandb_run_id"
PROJECT = "resnext"
EXIT_CODES = {"FINISHED": 0, "KILLED": 130, "FAILED": 1}

logger = logging.getLogger(__name__)


class Wandb:
    """One run of W&B for a run; its id is kept in the run's folder, for a resumed run.

    Without a server each process has files of its own, which `wandb sync` puts into one run.
    """

    def __init__(self, run: Path) -> None:
        kept = run / RUN_ID
        if not kept.exists():
            kept.write_text(uuid4().hex)
        mode = os.environ.setdefault("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=kept.read_text(),
            dir=run,
            # Offline there is nobody to ask whether the run exists, and wandb warns of that.
            resume=None if mode == "offline" else "allow",
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric("*", step_metric="step")
        logger.info("epochs also go to W&B (%s): %s", mode, self._run.dir)

    def config(self, settings: Mapping[str, Any]) -> None:
        """Set the run's config."""
        self._run.config.update(dict(settings), allow_val_change=True)

    def epoch(self, step: int, values: Values) -> None:
        """Log the numbers of an epoch; `step` is their axis."""
        self._run.log({"step": step, **values})

    def close(self, ending: Ending) -> None:
        """Wait until everything is written, and end the run."""
        self._run.finish(exit_code=EXIT_CODES[ending])
