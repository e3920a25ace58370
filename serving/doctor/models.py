"""Does each model load, prove itself by its golden images, and answer?"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from serving.doctor.finding import AS_IT_SAYS, Case, Finding
from serving.doctor.load import Failed, Loaded


def check(case: Case) -> Iterator[Finding]:
    """Load every model as the server would, one after the other."""
    for load in case.loads:
        for warning in load.warnings:
            yield Finding("warn", f"{load.path}: {warning}", AS_IT_SAYS)
        yield _told(load)
    yield from _alike(case.loaded)


def _told(load: Loaded | Failed) -> Finding:
    if isinstance(load, Failed):
        named = load.reason if str(load.path) in load.reason else f"{load.path}: {load.reason}"
        return Finding("fail", named, load.advice)
    told = [
        *load.log["serving.proof"][:1],
        *load.log.get("serving.opening", []),  # by whom it is signed, if that was asked
        *load.log["serving.loading"],
    ]
    speed = f"about {load.images_per_s:.0f} images/s without decoding"
    return Finding("ok", f"{'; '.join(told)}, {speed}")


def _alike(loads: list[Loaded]) -> Iterator[Finding]:
    paths = defaultdict[str, list[Path]](list)
    for load in loads:
        paths[f"{load.name}/{load.version}"].append(load.path)
    for name, same in paths.items():
        if len(same) > 1:
            yield Finding(
                "fail",
                f"{' and '.join(map(str, same))} are both {name}",
                "serve one of them, or export one under another version",
            )
