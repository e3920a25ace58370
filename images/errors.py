"""What can be wrong with an image."""


class ImageError(ValueError):
    """The bytes are not an image that can be classified; the message says why."""


class SlowImageError(ImageError):
    """To decode the image would take longer than is allowed."""


def damaged(reason: str) -> ImageError:
    """Return the error of a file that its own format does not allow."""
    return ImageError(f"the image cannot be decoded: {reason}")
