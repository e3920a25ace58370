import pytest

from export.__main__ import main


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gears", "1,2"], "--gears: for --device ascend only"),
        (["--soc", "910b"], "--soc: for --device ascend only"),
        (["--device", "ascend", "--gears", "2,1"], "--gears: [2, 1] must rise"),
        (["--device", "ascend", "--gears", "0"], "--gears: Input should be greater than 0"),
        (["--device", "cuda"], "--device: Input should be 'cpu' or 'ascend'"),
    ],
)
def test_what_does_not_fit_is_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["convert", "nowhere", *flags]) == 2
    assert message in capsys.readouterr().err
