"""Photos that scikit-image and scikit-learn carry, and pieces of them for int8.

Nobody has said what is on a piece, so its class is what the network itself sees there. Accuracy on
the pieces is therefore agreement with the float32 file, and nothing else; their folder says so.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
# Pieces of these judge, and become the golden images that the page shows. ImageNet has a class for
# each (nobody need be shown what it calls a retina), and all are in the public domain: a picture of
# the page may be shown, too.
JUDGES = ("chelsea.png", "coffee.png", "rocket.jpg", "camera.png")
# These calibrate int8: things, textures and skies.
CALIBRATION = (
    "motorcycle_left.png", "flower.jpg", "china.jpg", "coins.png", "astronaut.png", "gravel.png",
    "hubble_deep_field.jpg", "grass.png", "brick.png", "clock_motion.png", "ihc.png", "retina.jpg",
    "cell.png", "moon.png",
)  # fmt: skip
THINGS = (*JUDGES, "motorcycle_left.png", "flower.jpg", "china.jpg")
PIECES = {"train": (CALIBRATION, 200), "val": (JUDGES, 64)}
SIDE = 256
SHARES = (0.75, 1.0)  # of the photo's shorter side: smaller pieces show sky, or half an eye
CANDIDATES = 4  # of which the one that is easiest to name is taken

Pixels = NDArray[np.uint8]
Classifier = Callable[[Pixels], tuple[str, float]]


def found(names: Sequence[str]) -> list[Path]:
    """Return the photos; raise `FileNotFoundError` if a release no longer carries one of them."""
    folders = [_folder(package) / inside for package, inside in FOLDERS.items()]
    paths = {
        name: folder / name for folder in folders for name in names if (folder / name).is_file()
    }
    if lost := set(names) - set(paths):
        raise FileNotFoundError(f"{' and '.join(FOLDERS)} carry no {', '.join(sorted(lost))}")
    return [paths[name] for name in names]


def copy(folder: Path) -> None:
    """Put photos of things into a folder, to be classified."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in found(THINGS):
        shutil.copyfile(path, folder / path.name)


def write_pieces(folder: Path, classify: Classifier) -> None:
    """Write pieces of the photos to train/ and val/, one folder per class.

    Args:
        folder: where to.
        classify: tells the class of uint8 RGB (256, 256, 3), and its probability.
    """
    for part, (split, (names, count)) in enumerate(PIECES.items()):
        chance = np.random.default_rng(part)
        photos = [Image.open(path).convert("RGB") for path in found(names)]
        for index in range(count):
            pieces = list(_pieces(photos[index % len(photos)], chance))
            classes = [classify(piece) for piece in pieces]
            best = int(np.argmax([probability for _, probability in classes]))
            path = folder / split / classes[best][0] / f"{index:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pieces[best]).save(path)


def _pieces(photo: Image.Image, chance: np.random.Generator) -> Iterator[Pixels]:
    """Yield squares from anywhere in the photo."""
    for _ in range(CANDIDATES):
        side = int(chance.uniform(*SHARES) * min(photo.size))
        left, top = (int(chance.integers(0, size - side + 1)) for size in photo.size)
        box = (left, top, left + side, top + side)
        yield np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box))


def _folder(package: str) -> Path:
    """Return the folder of an installed package, without running it."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
