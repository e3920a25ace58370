"""Does the repository hold what the settings and the labels ask for, and whole?"""

from collections.abc import Iterator
from pathlib import Path

from serving.doctor.finding import AS_IT_SAYS, Case, Finding, Status
from serving.doctor.versions import are_asked, labels
from serving.errors import StartupError
from serving.repository.checks import check_named
from serving.repository.folders import Found, scan
from serving.repository.rollout_file import RolloutError, RolloutFile

WHOLE = "copy it whole, with its seal last; or remove it"


def check(case: Case) -> Iterator[Finding]:
    """Look at its folders and labels as the server does, and at what of them could be loaded."""
    if (root := case.config.repository) is None:
        yield Finding("ok", "none is served")
        return
    try:
        found = scan(root)
        check_named(case.config, root, found)
    except OSError as error:
        yield Finding("fail", f"--repository {root} cannot be read: {error.strerror}", AS_IT_SAYS)
        return
    except StartupError as error:
        yield Finding("fail", str(error), AS_IT_SAYS)
        return
    yield from _incomplete(case, found)
    yield from _labels(case, root, found)
    if not case.loaded and case.config.model_control == "none":
        lack = f"--repository {root} holds nothing that can be served"
        yield Finding("fail", lack, "put bundles into <name>/<version>/ there")
    else:
        number, names = sum(1 for _ in found.all()), len(found.folders)
        yield Finding("ok", f"{root}: models: {names}, versions: {number}")


def _incomplete(case: Case, found: Found) -> Iterator[Finding]:
    """Yield what a server passes over; that fails if it is asked for by its version."""
    for reason in found.unreadable.values():
        yield Finding("fail", reason, "let the server's user read it")
    for path in found.unnamed:
        yield Finding("warn", f"{str(path)!a} is passed over: its name cannot be shown", WHOLE)
    for folder in found.all():
        if folder.lack:
            is_named = folder.version in case.config.policy.rule(folder.name).named
            status: Status = "fail" if is_named else "warn"
            yield Finding(status, f"{folder.path} is passed over: {folder.lack}", WHOLE)


def _labels(case: Case, root: Path, found: Found) -> Iterator[Finding]:
    for name in are_asked(case.config, found):
        try:
            file = labels(root, name)
            _check_labels(file, {load.version for load in case.loaded if load.name == name})
        except RolloutError as error:
            yield Finding("fail", str(error), AS_IT_SAYS)


def _check_labels(file: RolloutFile, loaded: set[str]) -> None:
    for label, entry in file.entries.items():
        if entry.version not in loaded:
            file.refuse(label, f"version {entry.version} cannot be loaded")
        if label in loaded:
            file.refuse(label, "there is a version that is called so")
