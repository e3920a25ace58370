"""`--require-signature`: what one of the keys did not sign is not loaded, whatever else it is."""

import os
from pathlib import Path
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from pydantic_settings import CliApp

from bundle.manifest import MANIFEST
from bundle.store import SEAL, Bundle, BundleError
from serving import loading
from serving.config import ServingConfig
from serving.loading import load_model
from serving.metrics import Metrics
from serving.opening import open_bundle
from tests.support.bundles import write_bundle
from tests.support.keys import KeyPair, sign_bundle, write_keys


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return write_keys(tmp_path)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path)


def parse(*flags: str | Path) -> ServingConfig:
    return CliApp.run(ServingConfig, cli_args=["--model", "a", *map(str, flags)])


def load(path: Path, *keys: Path) -> None:
    config = parse(*(word for key in keys for word in ("--require-signature", key)))
    load_model(path, config, Metrics(CollectorRegistry())).close()


def test_a_signed_bundle_loads_and_the_log_says_whose_it_is(
    bundle: Path, keys: KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    sign_bundle(bundle, keys)
    with caplog.at_level("INFO"):
        load(bundle, keys.public)
    assert f"{bundle}: signed by sha256:" in caplog.text


def test_without_the_flag_signatures_are_ignored(bundle: Path, keys: KeyPair) -> None:
    load(bundle)
    sign_bundle(bundle, keys)
    load(bundle)


def test_nothing_of_an_unsigned_bundle_is_read(
    bundle: Path, keys: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither seal nor manifest could be, and no runtime sees it."""
    (bundle / SEAL).write_bytes(b"nonsense")
    (bundle / MANIFEST).write_bytes(b"nonsense")
    opened = Mock()
    monkeypatch.setattr("serving.loader.load", opened)
    with pytest.raises(BundleError, match="is not signed"):
        load(bundle, keys.public)
    opened.assert_not_called()


def test_several_keys(bundle: Path, keys: KeyPair, tmp_path: Path) -> None:
    other = write_keys(tmp_path, "other")
    assert parse("--require-signature", f"{keys.public},{other.public}") == parse(
        "--require-signature", keys.public, "--require-signature", other.public
    )
    sign_bundle(bundle, other)
    load(bundle, keys.public, other.public)
    with pytest.raises(BundleError, match="is signed by another key"):
        load(bundle, keys.public)


def test_a_key_can_be_exchanged_while_the_server_runs(
    bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    config = parse("--require-signature", keys.public)
    sign_bundle(bundle, keys)
    open_bundle(bundle, config)
    new = write_keys(tmp_path, keys.public.stem)
    assert new == keys
    with pytest.raises(BundleError, match="is signed by another key"):
        open_bundle(bundle, config)
    sign_bundle(bundle, new)
    open_bundle(bundle, config)


def test_a_key_that_went_away_lets_nothing_pass(bundle: Path, keys: KeyPair) -> None:
    sign_bundle(bundle, keys)
    config = parse("--require-signature", keys.public)
    keys.public.unlink()
    with pytest.raises(BundleError, match=r"--require-signature: .*release\.pub cannot be read"):
        open_bundle(bundle, config)


def test_what_is_no_key_is_a_wrong_flag(keys: KeyPair, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # it would keep the reader waiting
    for path, hint in {
        keys.private: "holds PRIVATE KEY",
        tmp_path: "is not a file",
        tmp_path / "pipe": "pipe is not a file",
        tmp_path / "nothing": "No such file",
    }.items():
        with pytest.raises(ValidationError, match=hint):
            parse("--require-signature", path)


def test_an_empty_flag_does_not_switch_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_REQUIRE_SIGNATURE", "")
    with pytest.raises(ValidationError, match="is not a file"):
        parse()


@pytest.mark.parametrize("name", ["golden/golden.json", "golden/ant_0.png", "model.onnx"])
def test_what_is_exchanged_after_the_check_is_not_used(
    bundle: Path, keys: KeyPair, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even to prove the model, which takes what strangers wrote to decoders and parsers."""
    sign_bundle(bundle, keys)

    def open_and_exchange(path: Path, config: ServingConfig) -> Bundle:
        opened = open_bundle(path, config)
        with (path / name).open("ab") as file:
            file.write(b" ")
        return opened

    monkeypatch.setattr(loading, "open_bundle", open_and_exchange)
    with pytest.raises(BundleError, match=f"{name}: .*(changed since|is not the one)"):
        load(bundle, keys.public)
