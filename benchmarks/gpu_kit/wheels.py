"""The wheels of a kit: what the lock file of `cuda-dev` names, but for what the machine has."""

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from benchmarks.gpu_kit.trim import Trimmed, trim
from cli.program import UsageError

LOCK = Path("requirements/cuda-dev.txt")
RUNTIME = "onnxruntime-gpu"
PROVIDER = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
# What an image with PyTorch for CUDA 13 brings; the versions are the image's, so a proof at the
# start decides: the golden pixels and, on the device, the golden probabilities.
LEFT_OUT = {
    "nvidia-cublas": "CUDA and cuDNN, 2.1 GB, are what PyTorch itself needs",
    "nvidia-cuda-nvrtc": "as nvidia-cublas",
    "nvidia-cuda-runtime": "as nvidia-cublas",
    "nvidia-cudnn-cu13": "as nvidia-cublas",
    "nvidia-cufft": "as nvidia-cublas",
    "nvidia-curand": "as nvidia-cublas",
    "nvidia-nvjitlink": "as nvidia-cublas",
    "numpy": "16 MB, and what PyTorch was built against",
    "opencv-python-headless": "60 MB; of images with torchvision as a rule",
    "pillow": "7 MB; torchvision needs it",
    "matplotlib": "8 MB, for a picture of the load tester",
    **dict.fromkeys(
        ("contourpy", "cycler", "fonttools", "kiwisolver", "pyparsing", "python-dateutil"),
        "of matplotlib",
    ),
    "onnx": "18 MB; only tests and the variant `unmerged` take it",
    "ml-dtypes": "of onnx",
    "uvloop": "4 MB; images with PyTorch have it as a rule",
    "cykooz-resizer": "the bundle of a kit resizes without antialias",
}  # fmt: skip
# Of ONNX Runtime's own wheel: nothing here loads it.
UNUSED = (
    "onnxruntime/capi/libonnxruntime.so",  # for programs in C
    "onnxruntime/capi/libonnxruntime_providers_tensorrt.so",  # needs TensorRT
    "onnxruntime/datasets/",
    "onnxruntime/quantization/",
    "onnxruntime/tools/",
    "onnxruntime/transformers/",
)
GLIBC = range(5, 35)
PLATFORMS = [*(f"manylinux_2_{n}_x86_64" for n in GLIBC), "manylinux2014_x86_64"]


def carried(lock: Path, python: str) -> Iterator[str]:
    """Yield the lines of a lock file, with their hashes, whose wheels the machine lacks.

    `python` is the machine's version ("3.12"); markers are judged for that, on Linux and x86-64.
    """
    place = {"python_version": python, "python_full_version": f"{python}.0"}
    place |= {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}
    for line in lock.read_text().replace("\\\n", "").splitlines():
        stated, *hashes = line.split(" --hash=")
        requirement = Requirement(stated)
        applies = requirement.marker is None or requirement.marker.evaluate(place)
        if applies and canonicalize_name(requirement.name) not in LEFT_OUT:
            pin = f"{requirement.name}{requirement.specifier}"
            yield " --hash=".join([pin, *(text.strip() for text in hashes)])


def download(lines: list[str], python: str, folder: Path) -> list[Path]:
    """Fetch the wheels of these lines into a folder, which keeps them; return their paths.

    Raises:
        UsageError: pip cannot fetch one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(folder)]
    command += ["--python-version", python, "--implementation", "cp"]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    with NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(lines))
        requirements.flush()
        done = subprocess.run([*command, "--requirement", requirements.name], check=False)  # noqa: S603
    if done.returncode:
        raise UsageError("pip cannot fetch the wheels of a kit; what it said stands above")
    pinned = {line.partition(" ")[0] for line in lines}
    wheels = {_pin(path): path for path in folder.glob("*.whl")}
    return [wheels[pin] for pin in sorted(pinned)]


def repack(wheel: Path, target: Path, sm: int) -> Trimmed:
    """Write a copy of ONNX Runtime's wheel with device code for `sm` alone, packed far smaller.

    It installs as any other: its RECORD states what is in it.
    """
    trimmed = None
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as packed:
        [record] = [name for name in source.namelist() if name.endswith(".dist-info/RECORD")]
        rows = list[tuple[str, str, str]]()
        for item in source.infolist():
            if item.is_dir() or item.filename == record or item.filename.startswith(UNUSED):
                continue
            data: bytes | bytearray = source.read(item)
            if item.filename == PROVIDER:
                data = bytearray(data)
                trimmed = trim(data, sm)
            item.compress_type = zipfile.ZIP_LZMA
            packed.writestr(item, data)
            rows.append((item.filename, _digest(data), str(len(data))))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows, (record, "", "")])
        packed.writestr(record, text.getvalue())
    if trimmed is None:
        raise UsageError(f"{wheel} has no {PROVIDER}: it is not {RUNTIME}")
    return trimmed


def _pin(wheel: Path) -> str:
    name, version, *_ = parse_wheel_filename(wheel.name)
    return f"{name}=={version}"


def _digest(data: bytes | bytearray) -> str:
    """Return the digest of a file as a wheel's RECORD has it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
