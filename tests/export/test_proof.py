"""The proof of a new bundle: in every batch size, int8 in every runtime, fp16 rounded."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bundle.golden import prove_pixels, prove_probabilities
from bundle.store import Bundle, BundleError
from export.errors import ParityError, PrecisionError
from export.evaluation_set import HeldImages, Probabilities
from export.original import Converted
from export.parity import Runner
from export.precision.cost import HeldOut
from export.proof import Proof, Reference, prove
from images.transform import Pixels
from serving.backends.settings import Runtime
from tests.export.images import varied
from tests.support.bundles import SIDE, probabilities, write_bundle

IMAGES = varied(7, SIDE)
EXPECTED = probabilities(IMAGES)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(write_bundle(tmp_path))


def test_a_file_is_proved_in_a_full_batch_of_every_bucket(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bundle.manifest.files[0]
    reference = Reference(HeldImages("seven", IMAGES), EXPECTED, *prove_pixels(bundle))
    written = [Converted(file, reduced=False)]
    asked: list[int] = []

    def mixing(pixels: Pixels) -> Probabilities:
        asked.append(len(pixels))
        return probabilities(pixels) + np.float32(1e-3 * (len(pixels) == 8))

    monkeypatch.setattr("export.proof.open_runner", lambda *_, **__: Runner(mixing, "x", "cpu"))
    with pytest.raises(ParityError, match=r"^model\.onnx: the model mixes .* batch, of 8 \("):
        prove(bundle.path, bundle.manifest, written, "cpu", reference)
    assert asked == [7, 3, 1, 2, 4, 8]


def prove_int8(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    apart: float,
    held_out: HeldOut | None = None,
) -> Proof:
    """Prove an int8 file that takes 0.1 from each probability, in OpenVINO a part `apart` more."""
    stated = bundle.manifest.files[0].model_copy(update={"precision": "int8"})

    def opened(*_: object, runtime: Runtime) -> Runner:
        less = np.float32(0.9 - (apart if runtime == "openvino" else 0))
        return Runner(lambda pixels: probabilities(pixels) * less, runtime, "cpu")

    monkeypatch.setattr("export.proof.open_runner", opened)
    reference = Reference(HeldImages("seven", IMAGES), EXPECTED, *prove_pixels(bundle))
    written = [Converted(stated, True, held_out=held_out)]
    [proof] = prove(bundle.path, bundle.manifest, written, "cpu", reference)
    return proof


def test_int8_is_proved_in_every_runtime_that_serves_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = prove_int8(bundle, monkeypatch, apart=0.05)
    assert [parity.runtime for parity in proof.parities] == ["openvino", "onnxruntime"]
    openvino, onnxruntime = proof.parities
    assert openvino.largest_difference > 1.4 * onnxruntime.largest_difference
    assert openvino.largest_difference <= proof.file.tolerance == onnxruntime.tolerance


@pytest.mark.parametrize("apart", [0.001, 0.05, 0.25, 0.7])
def test_int8_is_told_from_fp32_in_each_runtime_however_far_they_are_apart(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, apart: float
) -> None:
    proof = prove_int8(bundle, monkeypatch, apart)
    golden, pixels = prove_pixels(bundle)
    recorded = golden.model_copy(update={"files": proof.answers})
    for runtime, part in (("openvino", 0.9 - apart), ("onnxruntime", 0.9)):
        proved = bundle, proof.file, recorded, pixels
        prove_probabilities(*proved, partial(scaled, part), runtime)
        with pytest.raises(BundleError, match="what the int8 file itself gave"):
            prove_probabilities(*proved, probabilities, runtime)


def test_the_tolerance_of_int8_covers_images_that_were_held_out(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which one is answered further from float32 than any of the evaluation set."""
    near = prove_int8(bundle, monkeypatch, apart=0.05)
    answers = EXPECTED.copy()
    answers[4] = np.roll(answers[4], 1)
    far = prove_int8(bundle, monkeypatch, apart=0.05, held_out=HeldOut(IMAGES, answers))
    golden = len(prove_pixels(bundle)[0].images)
    for proof, images in ((near, 7 + golden), (far, 14 + golden)):
        assert {parity.tolerance_images for parity in proof.parities} == {images}
    distance = max(
        float(np.abs(scaled(np.float32(part), IMAGES) - answers).max()) for part in (0.85, 0.9)
    )
    assert near.file.tolerance < 1.5 * distance <= far.file.tolerance < 1.6 * distance
    assert [p.largest_difference for p in far.parities] == [
        p.largest_difference for p in near.parities
    ]


def scaled(part: float, pixels: Pixels) -> Probabilities:
    return probabilities(pixels) * np.float32(part)


def prove_fp16(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, rounded: float) -> Proof:
    """Prove an fp16 file that takes 0.001 from each probability, where all is rounded `rounded`."""
    stated = bundle.manifest.files[0].model_copy(update={"precision": "fp16"})

    def opened(*_: object, runtime: Runtime) -> Runner:
        return Runner(partial(scaled, 0.999), "onnxruntime", "cpu")

    def answered(
        path: Path, batches: Iterable[Pixels], batch: int, *, optimized: bool
    ) -> Probabilities:
        assert path == bundle.path / stated.path
        factor = 1.0 if optimized else 1 - rounded  # sums in another order
        return np.concatenate([scaled(factor, pixels) for pixels in batches])

    monkeypatch.setattr("export.proof.open_runner", opened)
    monkeypatch.setattr("export.precision.rounded.rounded_answers", answered)
    reference = Reference(HeldImages("seven", IMAGES), EXPECTED, *prove_pixels(bundle))
    [proof] = prove(bundle.path, bundle.manifest, [Converted(stated, True)], "cpu", reference)
    return proof


@pytest.mark.parametrize(("rounded", "wider"), [(0.004, True), (0.0005, False)])
def test_the_tolerance_of_fp16_follows_from_arithmetic_that_rounds(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, rounded: float, wider: bool
) -> None:
    proof = prove_fp16(bundle, monkeypatch, rounded)
    [parity] = proof.parities
    assert parity.rounded_difference
    assert (parity.rounded_difference > parity.largest_difference) == wider
    largest = max(parity.rounded_difference, parity.largest_difference)
    assert 2 * largest <= proof.file.tolerance == parity.tolerance < 2.3 * largest
    assert not proof.answers


@pytest.mark.parametrize(
    ("rounded", "told"),
    [(0.2, "float16 may cost 0.02"), (float("nan"), "beyond 65504, where float16 ends")],
)
def test_fp16_that_hardware_cannot_compute_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, rounded: float, told: str
) -> None:
    with pytest.raises(PrecisionError, match=f"{told}.*Leave fp16 out of --precision"):
        prove_fp16(bundle, monkeypatch, rounded)
