"""AIR, the format of the Ascend toolchain before MindSpore Lite; MindSpore writes it on Ascend."""

from pathlib import Path

import mindspore

from export.graph import Deployment


def write(deployment: Deployment, path: Path) -> None:
    """Write the deployment graph for one image, uint8 (1, height, width, 3).

    Raises what MindSpore raises on any device but Ascend; `ExportConfig` refuses that earlier.
    """
    example = deployment.example(batch=1)
    mindspore.export(deployment.graph(), example, file_name=str(path), file_format="AIR")
