import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.messages import top_classes


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=1, max_size=30), st.integers(0, 40))
def test_the_most_probable_come_first_and_equal_ones_in_label_order(
    values: list[float], top_k: int
) -> None:
    row = np.array(values, np.float32)
    expected = np.argsort(-row, kind="stable")[: top_k or None]
    classes = top_classes(row, top_k, [f"label {index}" for index in range(len(row))])
    assert [entry["index"] for entry in classes] == expected.tolist()
    assert [entry["label"] for entry in classes] == [f"label {index}" for index in expected]
    assert [entry["probability"] for entry in classes] == pytest.approx(row[expected].tolist())


def test_what_is_not_a_number_is_shown() -> None:
    row = np.array([0.1, np.nan, np.nan], np.float32)
    assert len(top_classes(row, 2, ["a", "b", "c"])) == 2
