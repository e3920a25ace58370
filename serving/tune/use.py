"""What a server takes from the choice that `tune` has kept: all that no flag or variable sets."""

import logging
from pathlib import Path

from bundle.store import Bundle, first_mistake
from cli.cores import usable_cores
from serving.backends.devices import Device
from serving.backends.runtimes import choose
from serving.config import ServingConfig
from serving.errors import StartupError
from serving.settings.types import flag
from serving.tune.record import Choice, Key, Settings

# All else was measured with these: if a flag sets another of them, nothing is taken.
KIND = ("runtime", "precision")
# Settings that are only good together: if a flag sets one, the others are not taken either.
TOGETHER = (("instances", "threads"), ("buckets",))
AGAIN = "tune again (python -m serving tune --help); --tuned off ignores it"

logger = logging.getLogger(__name__)


def with_tuned(bundle: Bundle, config: ServingConfig) -> ServingConfig:
    """Return the settings with which to serve a bundle.

    They are `config` itself unless `tune` found others for this bundle on this machine. A choice
    that is broken, or was made with other libraries, costs a warning.
    """
    if config.tuned == "off" or config.device != "cpu" or config.cache_dir is None:
        return config
    key = Key.here(bundle.digest, config.slo_ms)
    path = key.file(config.cache_dir)
    choice = _read(path, key)
    if choice is None:
        return config
    if choice.settings is None:
        logger.info("%s: the defaults are best here, by %s", bundle.path, path)
        return config
    if _is_other_kind(choice.settings, config):
        logger.info(
            "%s: the tuned settings are not used: they are for --runtime %s --precision %s (%s)",
            bundle.path,
            choice.settings.runtime,
            choice.settings.precision,
            path,
        )
        return config
    taken = _free(choice.settings, config)
    if reason := _obstacle(bundle, config, taken):
        logger.warning("%s: the tuned settings are not used: %s; %s", path, reason, AGAIN)
        return config
    logger.info(
        "%s: tuned settings: %s (%s); --tuned off ignores them",
        bundle.path,
        ", ".join(f"{flag(name)} {_shown(value)}" for name, value in taken.items())
        or "none, because of what flags set",
        path,
    )
    return config.model_copy(update=taken)


def _read(path: Path, key: Key) -> Choice | None:
    """Return the choice if there is one that holds here; warn of one that does not."""
    try:
        choice = Choice.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("%s: not used: it cannot be read (%s); %s", path, error.strerror, AGAIN)
        return None
    except ValueError as error:
        logger.warning("%s: not used: it is damaged (%s); %s", path, first_mistake(error), AGAIN)
        return None
    if choice.key == key:
        return choice
    logger.warning("%s: not used: %s; %s", path, "; ".join(_differences(choice.key, key)), AGAIN)
    return None


def _differences(then: Key, now: Key) -> list[str]:
    """Return in what a choice was made otherwise."""
    fields = [name for name in Key.model_fields if name != "versions"]
    found = [
        f"it holds for {name} {getattr(then, name)}, not {getattr(now, name)}"
        for name in fields
        if getattr(then, name) != getattr(now, name)
    ]
    names = sorted({*then.versions, *now.versions})
    versions = [(name, then.versions.get(name), now.versions.get(name)) for name in names]
    return found + [
        f"it was made with {name} {was or '(none)'}, and this is {is_ or '(none)'}"
        for name, was, is_ in versions
        if was != is_
    ]


def _is_other_kind(settings: Settings, config: ServingConfig) -> bool:
    """Whether a flag or variable asks for another runtime or precision than the tuned one."""
    given = config.model_fields_set.intersection(KIND)
    return any(getattr(config, name) != getattr(settings, name) for name in given)


def _free(settings: Settings, config: ServingConfig) -> dict[str, object]:
    """Return the tuned settings that no flag or variable decides."""
    given = config.model_fields_set
    groups = [(name,) for name in KIND] + [*TOGETHER]
    free = [group for group in groups if not given.intersection(group)]
    return {name: getattr(settings, name) for group in free for name in group}


def _obstacle(bundle: Bundle, config: ServingConfig, taken: dict[str, object]) -> str | None:
    """Return why the tuned settings do not fit here, None if they do.

    `tune` keeps none that ask for more than the machine and the bundle have; an edited file may.
    """
    trial = config.model_copy(update=taken)
    needed, cores = (trial.instances or 1) * trial.threads, usable_cores().usable
    if "instances" in taken and needed > cores:
        return f"they take {needed} threads, and this process may use {cores} cores"
    stated = {size for file in bundle.manifest.files for size in file.buckets}
    if "buckets" in taken and (unstated := {*(trial.buckets or ())} - stated):
        return f"the bundle states no batches of {min(unstated)}"
    if not taken.keys() & {*KIND}:
        return None
    try:
        choose(bundle.manifest, Device("cpu"), trial.precision, trial.runtime, trial.lite_python)
    except StartupError as error:
        return str(error)
    return None


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
