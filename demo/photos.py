"""Photos that scikit-image and scikit-learn carry, and pieces of them for int8.

Nobody has said what is on a piece, so its class is what the network itself sees there. Accuracy on
the pieces is therefore agreement with the float32 file, and nothing else; their folder says so.
"""

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
# What ImageNet has a class for; nobody need be shown what it calls a retina.
THINGS = (
    "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "flower.jpg", "camera.png",
    "china.jpg",
)  # fmt: skip
# Every second one calibrates, the others judge: both of things, textures and skies.
PHOTOS = (
    *THINGS, "coins.png", "astronaut.png", "hubble_deep_field.jpg", "gravel.png", "grass.png",
    "brick.png", "clock_motion.png", "ihc.png", "retina.jpg", "cell.png", "moon.png",
)  # fmt: skip
PIECES = {"train": 200, "val": 64}
SIDE = 256
CANDIDATES = 4  # of which the one that is easiest to name is taken

Pixels = NDArray[np.uint8]
Classifier = Callable[[Pixels], tuple[str, float]]


def found() -> list[Path]:
    """Return the photos; raise `FileNotFoundError` if a release no longer carries one of them."""
    folders = [_folder(package) / inside for package, inside in FOLDERS.items()]
    paths = {
        name: folder / name for folder in folders for name in PHOTOS if (folder / name).is_file()
    }
    if lost := set(PHOTOS) - set(paths):
        raise FileNotFoundError(f"{' and '.join(FOLDERS)} carry no {', '.join(sorted(lost))}")
    return [paths[name] for name in PHOTOS]


def copy(folder: Path) -> None:
    """Put photos of things into a folder, to be classified."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in found():
        if path.name in THINGS:
            shutil.copyfile(path, folder / path.name)


def write_pieces(folder: Path, classify: Classifier) -> None:
    """Write pieces of every second photo to train/, of the others to val/, one folder per class.

    Args:
        folder: where to.
        classify: tells the class of uint8 RGB (256, 256, 3), and its probability.
    """
    for part, (split, count) in enumerate(PIECES.items()):
        chance = np.random.default_rng(part)
        photos = [Image.open(path).convert("RGB") for path in found()[part::2]]
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
        side = int(chance.uniform(0.5, 1.0) * min(photo.size))
        left, top = (int(chance.integers(0, size - side + 1)) for size in photo.size)
        box = (left, top, left + side, top + side)
        yield np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box))


def _folder(package: str) -> Path:
    """Return the folder of an installed package, without running it."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
