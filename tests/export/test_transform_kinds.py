"""Exports that ask for another resampler, or for reduced decoding, and measure what it costs."""

import json
from pathlib import Path

import pytest
from PIL import Image

from export.audit.description import _lines
from export.audit.verification import require, verify
from export.checkpoint import from_checkpoint
from export.config import ExportConfig
from export.errors import ExportError
from export.golden_images import REDUCED, VARIANTS, synthetic
from export.parity_page import PAGE
from export.parity_record import read_parity
from export.pipeline import Exported, export_bundle
from export.report import show_export
from images.decoders import decode_picture
from images.transform import ShorterSide, Size, Transform
from tests.export.conftest import ANIMALS
from tests.export.images import varied
from tests.support.checkpoints import write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best.ckpt", labels=ANIMALS)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of three classes; all but two are JPEGs that can be decoded smaller."""
    root = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(varied(12, 40)):
        folder = root / "test" / ANIMALS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels).resize((320, 320))
        image.save(folder / f"{number}.{'png' if number < 2 else 'jpg'}")
    return root


def export(checkpoint: Path, images: Path, output: Path, **flags: object) -> Exported:
    config = ExportConfig.model_validate(
        {"ckpt_file": checkpoint, "images": images, "output": output, "batch_size": 2, **flags}
    )
    return export_bundle(from_checkpoint(config), config)


def test_reduced_decoding_is_measured_and_proved(
    checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    flags = {"decoding": "reduced", "resampler": "fast_image_resize"}
    bundle, parity = export(checkpoint, photos, tmp_path, **flags)
    stated = json.loads((bundle.path / "manifest.json").read_text())["transform"]
    assert (stated["decoding"], stated["resampler"]) == ("reduced", "fast_image_resize")
    cost, scores = parity.reduced_decoding, parity.checkpoint
    assert cost is not None
    assert scores is not None
    assert cost.images_reduced == 10
    assert "cykooz.resizer" in parity.versions
    assert 0 < cost.largest_difference < 0.2
    usual = export(checkpoint, photos, tmp_path, resampler="fast_image_resize").parity
    assert cost.full == usual.checkpoint
    assert usual.reduced_decoding is None
    assert read_parity(bundle.path) == parity
    assert "Reduced decoding, of 10 of the 12 images: top-1 " in (bundle.path / PAGE).read_text()
    told = dict(_lines(bundle))
    assert "antialias, by fast_image_resize, JPEGs decoded at a reduced" in told["transform"]
    verification = verify(bundle.path, "cpu", photos)
    require(verification)
    assert verification.golden_images == len(VARIANTS) + len(REDUCED)


def test_where_no_image_is_large_enough_it_says_so(
    checkpoint: Path, animals: Path, tmp_path: Path
) -> None:
    bundle, parity = export(checkpoint, animals, tmp_path, decoding="reduced")
    assert parity.reduced_decoding is not None
    assert parity.reduced_decoding.images_reduced == 0
    assert parity.reduced_decoding.full == parity.checkpoint
    assert (
        "Reduced decoding was not measured: none of the 12 images is a JPEG large enough"
        in (bundle.path / PAGE).read_text()
    )


def test_without_images_it_says_what_was_not_measured(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ExportConfig(ckpt_file=checkpoint, output=tmp_path, batch_size=2, decoding="reduced")
    show_export(*export_bundle(from_checkpoint(config), config))
    told = capsys.readouterr().out
    assert "\naccuracy  not known: that needs --images with true classes\n" in told
    assert "\ndecoding  what reduced decoding costs was not measured: that needs --images\n" in told


def test_golden_images_prove_each_reduction() -> None:
    transform = Transform(
        resize=ShorterSide(pixels=32), crop=Size(height=28, width=28), decoding="reduced"
    )
    usual = transform.model_copy(update={"decoding": "full"})
    images = synthetic(transform)
    assert [image.data for image in images[: len(VARIANTS)]] == [i.data for i in synthetic(usual)]
    pictures = [decode_picture(image.data, reduction=transform._reduction) for image in images]
    reductions = [picture.reduction for picture in pictures]
    assert reductions[len(VARIANTS) :] == list(REDUCED)
    assert pictures[-1].is_transposed


def test_an_upstream_checkpoint_has_no_other_kinds(checkpoint: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.ckpt"
    bare.write_bytes(checkpoint.read_bytes())
    for flags in ({"decoding": "reduced"}, {"resampler": "fast_image_resize"}):
        config = ExportConfig.model_validate(
            {"ckpt_file": bare, "architecture": "tiny", "output": tmp_path, **flags}
        )
        with pytest.raises(ExportError, match=r"^--resampler, --decoding: .*antialias: true"):
            from_checkpoint(config)
