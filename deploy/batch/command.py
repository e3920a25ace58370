"""The command, from its flags to its exit code."""

import logging
import time

from cli.program import FAILED, INTERRUPTED
from cli.text import printable
from deploy.batch.local import run_here
from deploy.batch.progress import Meter, progress
from deploy.batch.run import prepare
from deploy.batch.settings import DatasetConfig
from deploy.batch.summary import count, show
from deploy.batch.target import Target
from serving.lifecycle import exit_now
from serving.opening import open_bundle

logger = logging.getLogger(__name__)


def classify(config: DatasetConfig) -> int:
    """Classify what is left of a data set; return the exit code: 1 if no image has an answer.

    Raises:
        DatasetError: the source or the target is not usable, or the run cannot go on.
        BundleError, StartupError: as the server does at its start.
    """
    target = Target(config.target)
    bundle = open_bundle(config.bundle, config.serving())
    with target.locked():
        shards = prepare(config, target, bundle)
        _run(config, target, shards)
        counts = count(target)
    show(counts)
    print(printable(f"The rows are in {target.path}"))
    return 0 if counts["OK"] else FAILED


def _run(config: DatasetConfig, target: Target, shards: list[int]) -> None:
    plan = target.plan
    left = sum(map(plan.count, shards))
    _say(f"{plan.images} images in {plan.shards} files; {plan.images - left} are done")
    if not shards:
        return
    started = time.monotonic()
    try:
        with progress(plan.images, plan.images - left) as tell:
            meter = Meter(tell)
            if config.engine == "ray":
                from deploy.ray.dataset import run_on_ray  # the only part that needs ray

                run_on_ray(config, shards, meter)
            else:
                run_here(config, shards, meter)
    except KeyboardInterrupt:
        # Nothing waits for batches that run, nor for threads that read.
        _say("interrupted: the same command goes on from here")
        exit_now(INTERRUPTED)
    speed = meter.images_per_second
    told = f"; {speed:,.1f} img/s once the model was loaded" if speed else ""
    _say(f"{left} images in {time.monotonic() - started:.1f} s{told}")


def _say(text: str) -> None:
    logger.info("%s", printable(text))
