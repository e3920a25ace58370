"""Runs the Python blocks of docs/bring_your_own.md, with a small model in the place of a large one.

Run by the interpreter of `.venv-torch`: brought_models.py FOLDER, which holds pixels.npy. Each
variant gets a folder in there, with what the blocks write and the answers of PyTorch.
"""

import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

SIDE, RESIZE, CLASSES = 48, 54, 6
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
LABELS = [f"thing {index}" for index in range(CLASSES)]
STAND_INS = ("timm", "torchvision", "torchvision.models")
PAGE = Path(__file__).parents[2] / "docs/bring_your_own.md"


class Variant(NamedTuple):
    """A way through the page."""

    source: str
    exporter: str
    opset: int | None = None
    fixed: bool = False
    softmax: bool = False


# The first of each exporter is the page as it is.
VARIANTS = {
    "timm_dynamo": Variant("timm", "dynamo"),
    "torchvision_script": Variant("torchvision", "script"),
    "dynamo_17_fixed": Variant("timm", "dynamo", opset=17, fixed=True),
    "dynamo_25": Variant("timm", "dynamo", opset=25, softmax=True),
    "dynamo_25_fixed": Variant("torchvision", "dynamo", opset=25, fixed=True),
    "script_17": Variant("timm", "script", opset=17, softmax=True),
    "script_17_fixed": Variant("torchvision", "script", opset=17, fixed=True),
    "script_23": Variant("timm", "script", opset=23),
    "script_23_fixed": Variant("timm", "script", opset=23, fixed=True, softmax=True),
}


class Small(nn.Module):
    """What timm's and torchvision's networks are made of, a few hundred weights of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.SiLU()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.GELU(), nn.Linear(16, CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.depthwise(self.stem(images))
        features = features + features * self.gate(features)
        vector = torch.flatten(self.pool(features), 1)
        return 4 * self.head(self.norm(vector).view(images.size(0), -1))


def small(*_: object, **__: object) -> Small:
    torch.manual_seed(4)
    model = Small()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    return model


def stand_in(name: str, **content: object) -> None:
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(content)


def stand_ins() -> None:
    """Put the small model where timm and torchvision have theirs."""
    config = {
        "input_size": (3, SIDE, SIDE), "crop_pct": SIDE / RESIZE, "interpolation": "bicubic",
        "mean": tuple(MEAN), "std": tuple(STD),
    }  # fmt: skip
    info = SimpleNamespace(label_descriptions=lambda: LABELS)
    data = SimpleNamespace(
        resolve_model_data_config=lambda model: config, ImageNetInfo=lambda: info
    )
    stand_in("timm", create_model=small, data=data)
    preset = SimpleNamespace(
        crop_size=[SIDE], resize_size=[RESIZE], mean=MEAN, std=STD,
        interpolation=SimpleNamespace(value="bicubic"),
    )  # fmt: skip
    weights = SimpleNamespace(transforms=lambda: preset, meta={"categories": LABELS})
    stand_in("torchvision")
    stand_in(
        "torchvision.models",
        resnet50=small,
        ResNet50_Weights=SimpleNamespace(DEFAULT=weights),
    )


def changed(block: str, old: str, new: str) -> str:
    assert old in block, f"the page says no longer {old!r}"
    return block.replace(old, new)


def bring(variant: Variant, pixels: Any) -> Any:
    """Run the page's blocks in the current folder; return PyTorch's probabilities."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    timm, torchvision, both, dynamo, script = blocks
    export = {"dynamo": dynamo, "script": script}[variant.exporter]
    if variant.opset:
        export = changed(export, '"model.onnx",', f'"model.onnx", opset_version={variant.opset},')
    if variant.fixed:
        name = {"dynamo": "dynamic_shapes=(any_batch,)", "script": "dynamic_axes=any_batch"}
        export = changed(export, f", {name[variant.exporter]}", "")
    names: dict[str, Any] = {}
    stand_ins()
    for block in ({"timm": timm, "torchvision": torchvision}[variant.source], both):
        exec(block, names)
    for name in STAND_INS:
        del sys.modules[name]  # the exporter looks for the real ones
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float() / 255
    mean, std = (torch.tensor(names[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        answers = names["model"]((images - mean) / std).softmax(1).numpy()
    if variant.softmax:
        names["model"] = nn.Sequential(names["model"], nn.Softmax(dim=1)).eval()
    exec(export, names)
    return answers


def main(folder: Path) -> None:
    pixels = np.load(folder / "pixels.npy")
    for name, variant in VARIANTS.items():
        (folder / name).mkdir()
        os.chdir(folder / name)
        np.save("answers.npy", bring(variant, pixels))
        Path("kind.txt").write_text("probabilities" if variant.softmax else "logits")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
