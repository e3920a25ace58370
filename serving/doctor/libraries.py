"""Are the libraries those that this program was made for, and do they get along?"""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from serving.backends.devices import parse_devices
from serving.doctor.finding import Case, Finding

PACKAGE = "resnext-serving"
# Packages that write the same files: beside each other none works for sure.
RIVALS = (
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-cann", "onnxruntime-openvino"),
    ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
)
# Not every server needs them: whether this one does, its devices and models tell.
RUNTIMES = {*RIVALS[0], "openvino"}


def check(case: Case) -> Iterator[Finding]:
    """Import all of a server, and compare what is installed with what this program requires."""
    [device, *_] = parse_devices(case.config.device)
    extra = device.kind if device.kind in ("cuda", "tensorrt") else "serving"
    installed: dict[str, str] = {
        canonicalize_name(found.metadata["Name"]): found.version for found in distributions()
    }
    wrong = [*unusable("serving.server"), *rivals(installed), *_required(extra, installed)]
    if case.config.otlp_endpoint:
        wrong += _required("tracing", installed)
    yield from dict.fromkeys(wrong)
    if not wrong:
        yield Finding("ok", f"all that {PACKAGE}[{extra}] requires is installed and can be loaded")


def unusable(module: str) -> Iterator[Finding]:
    """Yield why a module cannot be imported: a library that is missing, broken or of another time.

    Protobuf, for one, refuses code that was generated for a newer release as that is imported.
    """
    try:
        import_module(module)
    except Exception as error:  # noqa: BLE001 - libraries raise what they like
        yield Finding(
            "fail",
            f"the server cannot be imported: {type(error).__name__}: {error}",
            "install the versions that requirements/ pins, in an environment of their own",
        )


def rivals(installed: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the packages that overwrite each other; `installed` has the version of each."""
    for group in RIVALS:
        beside = [name for name in group if name in installed]
        if len(beside) > 1:
            yield Finding(
                "fail",
                f"{' and '.join(beside)} are installed: they overwrite each other's files",
                "uninstall all of them, then install the one that is needed",
            )


def _required(extra: str, installed: Mapping[str, str]) -> Iterator[Finding]:
    try:
        stated = requires(PACKAGE) or []
    except PackageNotFoundError:
        yield Finding(
            "warn",
            f"{PACKAGE} is not installed as a package, so which versions it needs is unknown",
            f"install it: pip install '.[{extra}]' in its source",
        )
    else:
        yield from disagreements(stated, extra, installed)


def disagreements(
    stated: Sequence[str], extra: str, installed: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield what is missing, or of a version that is not supported.

    Args:
        stated: the requirements of this program.
        extra: which of its extras is needed; it may require others.
        installed: the version of each package, by its canonical name.
    """
    for requirement in _needed([Requirement(text) for text in stated], extra):
        name = canonicalize_name(requirement.name)
        if (found := installed.get(name)) is None:
            if name not in RUNTIMES:
                yield Finding("fail", f"{name} is not installed", f"pip install '{requirement}'")
        elif not requirement.specifier.contains(found, prereleases=True):
            wanted = f"{name}{requirement.specifier}"
            yield Finding(
                "fail", f"{name} is {found}, and this needs {wanted}", f"pip install '{wanted}'"
            )


def _needed(stated: Sequence[Requirement], extra: str) -> Iterator[Requirement]:
    """Yield what an extra requires, and the extras that it names."""
    for requirement in stated:
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if canonicalize_name(requirement.name) != PACKAGE:
            yield requirement
        elif requirement.extras:
            for other in sorted(requirement.extras):
                yield from _needed([one for one in stated if one.marker], other)
