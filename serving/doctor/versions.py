"""Which bundles a server would try to load when it starts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from serving.config import ServingConfig
from serving.doctor.load import Failed, Loaded, load
from serving.repository.folders import Folder, Found, scan
from serving.repository.rollout_file import ROLLOUT, RolloutError, RolloutFile, read

CALL = "name its folder so, or export it under the name of its folder"


def load_all(config: ServingConfig) -> Iterator[Loaded | Failed]:
    """Load the bundles of --model, then those of the repository, one after the other."""
    for path in config.model:
        yield load(path, config)
    if config.repository:
        yield from _load_asked(config.repository, config)


def are_asked(config: ServingConfig, found: Found) -> list[str]:
    """Return the names of which versions are loaded at the start."""
    asked = config.load_model if config.model_control == "explicit" else ("*",)
    return [name for name in found.folders if "*" in asked or name in asked]


def labels(root: Path, name: str) -> RolloutFile:
    """Return the file of a model's labels; raise `RolloutError` if it is wrong."""
    return read(root / name / ROLLOUT)


def _load_asked(root: Path, config: ServingConfig) -> Iterator[Loaded | Failed]:
    """Load what the policy and the labels ask for, and an older version for each that fails."""
    try:
        found = scan(root)
    except OSError:  # the check of the repository tells it
        return
    for name in are_asked(config, found):
        try:
            labelled = [*labels(root, name).rollout.versions.values()]
        except RolloutError:  # likewise
            labelled = []
        yield from _load_name(name, found.folders[name], labelled, config)


def _load_name(
    name: str, folders: Mapping[str, Folder], labelled: Sequence[str], config: ServingConfig
) -> Iterator[Loaded | Failed]:
    whole = {version: folder for version, folder in folders.items() if not folder.lack}
    rule, ready, tried = config.policy.rule(name), 0, set[str]()
    for version in [*rule.candidates(whole), *labelled]:
        is_asked = version in labelled or not rule.is_met(ready)
        if is_asked and version in whole and version not in tried:
            tried.add(version)
            result = _checked(load(whole[version].path, config), name, version)
            ready += isinstance(result, Loaded)
            yield result


def _checked(result: Loaded | Failed, name: str, version: str) -> Loaded | Failed:
    if isinstance(result, Failed) or (result.name, result.version) == (name, version):
        return result
    reason = f"its manifest says that it is {result.name}/{result.version}"
    return Failed(result.path, reason, CALL, result.warnings)
