from serving.errors import InvalidImageError, OverloadedError


def test_an_error_of_one_of_several_images_names_it() -> None:
    error = InvalidImageError("broken")
    assert str(error.of_image(2, images=3)) == "image 2: broken"
    assert str(error.of_image(0, images=1)) == "broken"
    assert type(error.of_image(0, images=1)) is InvalidImageError
    assert error.of_image(0, images=1) is not error


def test_the_retry_hint_is_kept() -> None:
    assert OverloadedError("full", 7).of_image(1, images=2).retry_after_ms == 7
