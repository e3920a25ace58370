"""`python -m serving tune`, from its flags to the file that servers read."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bundle.store import Bundle
from cli.cores import usable_cores
from cli.program import UsageError
from cli.text import printable
from serving.backends.devices import Device
from serving.backends.runtimes import RUNTIMES, choose
from serving.config import ServingConfig
from serving.errors import StartupError
from serving.shares import count_instances
from serving.tune import record
from serving.tune.accuracy import allowed
from serving.tune.candidate import Candidate, Kind, stages
from serving.tune.config import TuneConfig
from serving.tune.entrant import Stable
from serving.tune.photos import choose_photos
from serving.tune.process import TooSlowError, WorkerError
from serving.tune.race import FASTER, Budget, Race
from serving.tune.report import check_picture, draw, progress, show
from serving.tune.trial import Trial

# What the end takes, and the start before this module was loaded, in seconds; and what a picture
# takes, whose library is slow to load.
MARGIN_S, PICTURE_S = 1.0, 3.0

CPU = Device("cpu")


def tune(config: TuneConfig) -> None:
    """Measure, show what was tried, and keep the best.

    Raises:
        UsageError: the settings or the images are not usable, or the budget is too small.
        BundleError: the bundle is damaged.
        StartupError: the defaults cannot run.
    """
    budget = Budget(config.budget_s - MARGIN_S - (PICTURE_S if config.picture else 0))
    if config.device != "cpu":
        raise UsageError(
            f"--device {config.device}: only a CPU is tuned; on other devices set --instances and "
            f"--buckets of the server by hand"
        )
    cache_dir = _usable(config.cache_dir)
    check_picture(config.picture)
    bundle = Bundle.open(config.model)
    defaults = ServingConfig(
        model=[config.model], lite_python=config.lite_python, slo_ms=config.slo_ms, tuned="off"
    )
    photos = choose_photos(config.images, bundle.manifest.transform, defaults.image_limits)
    kinds, start, left_out = _plan(bundle, defaults, config.max_accuracy_drop)
    title = f"tuning {bundle.path} with {len(photos)} photos; the defaults first"
    with ExitStack() as stack, progress(title) as tell:
        race = _race(Stable(stack, config, photos, budget), start, config, budget)
        trials = race.search(stages(kinds, usable_cores().usable), tell)
        final = race.confirm()
    if race.is_short_of_time and not any(trial.pairs for trial in trials):
        raise UsageError(_too_small(config, f" ({trials[0].note})"))
    best = final if wins(final) else None
    path = record.write(_choice(bundle, config.slo_ms, best), cache_dir)
    show(start, trials, final, left_out, slo_ms=config.slo_ms, wins=best is not None)
    print(f"Kept in {printable(str(path))}; python -m serving uses it, unless --tuned off.")
    if config.picture:
        draw(config.picture, start, trials)


def wins(final: Trial) -> bool:
    """Whether a candidate is faster than the defaults by more than the noise of both."""
    return not final.note and final.ratio >= FASTER and final.ratio - final.noise > 1


def _usable(cache_dir: Path | None) -> Path:
    if cache_dir is None:
        raise UsageError("--cache-dir: this user has no home; name a folder that servers can read")
    try:
        record.check_writable(cache_dir)
    except OSError as error:
        raise UsageError(
            f"--cache-dir: {cache_dir} cannot be written ({error.strerror}); name another folder, "
            f"and name it to servers too"
        ) from error
    return cache_dir


def _plan(
    bundle: Bundle, config: ServingConfig, max_drop: float
) -> tuple[list[Kind], Candidate, list[str]]:
    """Return what can run here, the defaults, and which precisions are left out and why."""
    default = choose(bundle.manifest, CPU, config.precision, config.runtime, config.lite_python)
    precisions, left_out = allowed(bundle, default.file.precision, max_drop)
    kinds = []
    for runtime in RUNTIMES["cpu"]:
        for precision in precisions:
            try:
                _, file = choose(bundle.manifest, CPU, precision, runtime, config.lite_python)
            except StartupError:  # no such file, or nothing that runs it
                continue
            kinds.append(Kind(runtime, precision, tuple(file.buckets)))
    buckets = tuple(config.buckets or default.file.buckets)
    instances = count_instances(config, CPU)
    start = Candidate(default.runtime, default.file.precision, instances, config.threads, buckets)
    return kinds, start, left_out


def _race(stable: Stable, start: Candidate, config: TuneConfig, budget: Budget) -> Race:
    try:
        return Race(start, stable.load, budget)
    except TooSlowError:
        reason = ": the defaults alone could not be measured"
        raise UsageError(_too_small(config, reason)) from None
    except WorkerError as error:
        raise StartupError(f"{config.model} cannot be served with the defaults: {error}") from error


def _too_small(config: TuneConfig, reason: str) -> str:
    return f"--budget-s {config.budget_s:g} is too small to compare anything{reason}; give it more"


def _choice(bundle: Bundle, slo_ms: int | None, best: Trial | None) -> record.Choice:
    key = record.Key.here(bundle.digest, slo_ms)
    now = datetime.now(UTC)
    if best is None:
        return record.Choice(key=key, settings=None, times_defaults=None, noise=None, measured=now)
    return record.Choice(
        key=key,
        settings=record.Settings(**best.candidate._asdict()),
        times_defaults=best.ratio,
        noise=best.noise,
        measured=now,
    )
