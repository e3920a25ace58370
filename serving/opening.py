"""Bundle directory -> checked bundle, before anything of it is loaded."""

import logging
from dataclasses import replace
from pathlib import Path

from bundle.keys import KeyFileError, PublicKey
from bundle.signature import open_signed
from bundle.store import Bundle, BundleError
from serving.config import ServingConfig

logger = logging.getLogger(__name__)


def open_bundle(path: Path, config: ServingConfig) -> Bundle:
    """Check the bundle at `path`, and return it by the name and version that it is served by.

    Raises as `checked` does.
    """
    bundle = checked(path, config)
    update = {"name": config.model_name} if config.model_name else {}
    if config.precision in config.also_precision:
        update["version"] = f"{bundle.manifest.version}-{config.precision}"
    return replace(bundle, manifest=bundle.manifest.model_copy(update=update))


def checked(path: Path, config: ServingConfig) -> Bundle:
    """Check the bundle at `path`: its signature first, if one is required, then its seal.

    The files of the keys are read each time, so a key that is exchanged counts for the next bundle.

    Raises:
        BundleError: it is not signed by one of the keys, or damaged.
    """
    if not config.require_signature:
        return Bundle.open(path)
    try:
        keys = [PublicKey.read(file) for file in config.require_signature]
    except KeyFileError as error:
        raise BundleError(f"{path} cannot be checked: --require-signature: {error}") from error
    bundle, key = open_signed(path, keys)
    logger.info("%s: signed by %s", path, key)
    return bundle
