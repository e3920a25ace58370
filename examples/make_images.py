"""Write the sample images: some members of the Fashion-MNIST test set, as PNG files.

python examples/make_images.py [FOLDER WITH THE IDX FILES]
"""

import gzip
import sys
from pathlib import Path

import numpy as np
from PIL import Image

IDX = Path("/usr/share/datasets/fashion-mnist")
IMAGES = Path(__file__).parent / "images"
SLUGS = (
    "t_shirt_top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle_boot",
)  # fmt: skip
# Chosen by eye: at least one clear member of each class.
CHOSEN = (19, 2, 1, 13, 86, 6, 8, 7, 9, 30, 0, 28)


def main(idx: Path) -> None:
    """Write `images/<class>_<index in the test set>.png` for each chosen image, 28 x 28 grey."""
    pixels = _read(idx / "t10k-images-idx3-ubyte.gz", header_bytes=16).reshape(-1, 28, 28)
    classes = _read(idx / "t10k-labels-idx1-ubyte.gz", header_bytes=8)
    IMAGES.mkdir(exist_ok=True)
    for index in CHOSEN:
        Image.fromarray(pixels[index]).save(IMAGES / f"{SLUGS[classes[index]]}_{index}.png")


def _read(path: Path, *, header_bytes: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header_bytes)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IDX
    if not folder.is_dir():
        sys.exit(f"there is no folder {folder}; usage: python -m examples.make_images [FOLDER]")
    main(folder)
