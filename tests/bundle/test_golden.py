"""The golden set notices what a seal cannot: a bundle that was edited and sealed again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bundle.golden import GOLDEN, GoldenSet, own_tolerance, prove_pixels, prove_probabilities
from bundle.manifest import MANIFEST, ModelFile
from bundle.store import Bundle, BundleError, seal
from images.transform import Pixels
from tests.support.bundles import LABELS, SIDE, probabilities

Json = dict[str, Any]
RUNTIME = "openvino"


def swap_labels(json: Json) -> None:
    json["labels"][:2] = json["labels"][1::-1]


def change_mean(json: Json) -> None:
    json["normalization"]["mean"][0] += 1


def change_resize(json: Json) -> None:
    json["transform"]["resize"]["height"] += 1


def change_kernel(json: Json) -> None:
    json["transform"]["kernel"] = "bicubic"


def drop_antialias(json: Json) -> None:
    json["transform"]["antialias"] = False


EDITS = [swap_labels, change_mean, change_resize, change_kernel, drop_antialias]


def edit(bundle: Path, name: str, change: Callable[[Json], None]) -> Bundle:
    """Change a JSON file of the bundle and seal it again."""
    content = json.loads((bundle / name).read_text())
    change(content)
    (bundle / name).write_text(json.dumps(content))
    seal(bundle)
    return Bundle.open(bundle)


def test_an_untouched_bundle_holds(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    golden, pixels = prove_pixels(opened)
    assert pixels.shape == (3, SIDE, SIDE, 3)
    file = opened.file("onnx", "fp32")
    assert (
        prove_probabilities(opened, file, golden, pixels, probabilities, RUNTIME) < file.tolerance
    )


@pytest.mark.parametrize("change", EDITS)
@pytest.mark.parametrize("name", [MANIFEST, GOLDEN])
def test_an_edit_of_one_side_is_refused(
    bundle: Path, name: str, change: Callable[[Json], None]
) -> None:
    with pytest.raises(BundleError, match="is not the one that the golden images were recorded"):
        prove_pixels(edit(bundle, name, change))


@pytest.mark.parametrize("change", [change_resize, change_kernel])
def test_an_edit_of_both_sides_gives_other_pixels(
    bundle: Path, change: Callable[[Json], None]
) -> None:
    edit(bundle, GOLDEN, change)
    with pytest.raises(BundleError, match="do not give the recorded pixels"):
        prove_pixels(edit(bundle, MANIFEST, change))


def test_another_image_in_the_place_of_a_golden_one_is_refused(bundle: Path) -> None:
    Image.new("RGB", (40, 30), "teal").save(bundle / "golden/ant_0.png")
    seal(bundle)
    with pytest.raises(BundleError, match=r"ant_0\.png: .* do not give the recorded pixels"):
        prove_pixels(Bundle.open(bundle))


def test_a_golden_image_that_cannot_be_read_is_refused(bundle: Path) -> None:
    (bundle / "golden/ant_0.png").write_bytes(b"")
    seal(bundle)
    with pytest.raises(BundleError, match=r"ant_0\.png: golden image cannot be read"):
        prove_pixels(Bundle.open(bundle))


def test_a_golden_set_that_cannot_be_read_is_refused(bundle: Path) -> None:
    (bundle / GOLDEN).write_text("{}")
    seal(bundle)
    with pytest.raises(BundleError, match=r"golden\.json is missing or broken"):
        prove_pixels(Bundle.open(bundle))


def test_a_probability_too_few_is_refused(bundle: Path) -> None:
    opened = edit(bundle, GOLDEN, lambda golden: golden["images"][0]["probabilities"].pop())
    with pytest.raises(BundleError, match=r"ant_0\.png has 5 probabilities for 6 labels"):
        prove_pixels(opened)


def test_probabilities_beyond_the_tolerance_are_refused(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    golden, pixels = prove_pixels(opened)
    file = opened.file("onnx", "fp32")
    shifted = np.zeros((3, len(LABELS)), np.float32)
    shifted[1, 4] = 2e-5
    with pytest.raises(BundleError, match=r"bee_1\.png differ by 2e-05 .* allows 1e-05"):
        prove_probabilities(
            opened, file, golden, pixels, lambda p: probabilities(p) + shifted, RUNTIME
        )


def in_bf16(pixels: Pixels) -> NDArray[np.float32]:
    """Return what the network of the bundle may give in bf16."""
    exact = probabilities(pixels)
    return exact + np.float32(0.01) * (exact - exact.mean(axis=1, keepdims=True))


def with_bf16(bundle: Path, **own: object) -> tuple[Bundle, ModelFile, GoldenSet, Pixels]:
    """Add a bf16 entry to the bundle, and its recorded answers with `own` in them; open it."""
    _, pixels = prove_pixels(Bundle.open(bundle))
    recorded = in_bf16(pixels)
    distance = float(np.abs(recorded - probabilities(pixels)).max())
    answers = {
        "format": "onnx",
        "precision": "bf16",
        "tolerance": own_tolerance("bf16", distance),
        "probabilities": recorded.tolist(),
    }

    def add(manifest: Json) -> None:
        manifest["files"].append(manifest["files"][0] | {"precision": "bf16", "tolerance": 0.1})

    edit(bundle, MANIFEST, add)
    opened = edit(bundle, GOLDEN, lambda golden: golden.update(files=[answers | own]))
    return opened, opened.file("onnx", "bf16"), *prove_pixels(opened)


def test_bf16_proves_itself_by_its_own_answers(bundle: Path) -> None:
    opened, file, golden, pixels = with_bf16(bundle)
    prove_probabilities(opened, file, golden, pixels, in_bf16, RUNTIME)
    fp32 = opened.file("onnx", "fp32")
    prove_probabilities(opened, fp32, golden, pixels, probabilities, RUNTIME)


def test_fp32_does_not_pass_for_bf16(bundle: Path) -> None:
    proved = with_bf16(bundle)
    with pytest.raises(BundleError, match=r"\(bf16\): .* what the bf16 file itself gave"):
        prove_probabilities(*proved, probabilities, RUNTIME)


def test_a_bf16_tolerance_that_fp32_would_pass_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"the bf16 answers have a tolerance of 0\.1; more than"):
        with_bf16(bundle, tolerance=0.1)


def test_bf16_without_answers_of_its_own_is_refused(bundle: Path) -> None:
    with_bf16(bundle)
    opened = edit(bundle, GOLDEN, lambda golden: golden.update(files=[]))
    file, (golden, pixels) = opened.file("onnx", "bf16"), prove_pixels(opened)
    with pytest.raises(BundleError, match="bf16 whose own golden probabilities are not recorded"):
        prove_probabilities(opened, file, golden, pixels, in_bf16, RUNTIME)


def test_answers_count_in_the_runtime_that_gave_them(bundle: Path) -> None:
    opened, file, golden, pixels = with_bf16(bundle, runtime=RUNTIME)
    prove_probabilities(opened, file, golden, pixels, in_bf16, RUNTIME)
    with pytest.raises(
        BundleError,
        match=f"not recorded in another may have 0: run it in {RUNTIME}, or export it where another"
        " is installed, too",
    ):
        prove_probabilities(opened, file, golden, pixels, in_bf16, "another")


@pytest.mark.parametrize("answer", [np.full((3, 6), np.nan, np.float32), np.zeros((3, 5))])
def test_an_answer_of_another_form_is_refused(bundle: Path, answer: Any) -> None:
    opened = Bundle.open(bundle)
    golden, pixels = prove_pixels(opened)
    with pytest.raises(BundleError, match=r"model\.onnx: gave"):
        prove_probabilities(
            opened, opened.file("onnx", "fp32"), golden, pixels, lambda _: answer, RUNTIME
        )
