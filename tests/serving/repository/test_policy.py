import pytest

from serving.repository.policy import Policy, Rule, parse_policy


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("latest:2", Policy(Rule(2), {})),
        ("all", Policy(Rule(), {})),
        ("net=1,3", Policy(Rule(1), {"net": Rule(named=("1", "3"))})),
        ("net=1,3,latest:2", Policy(Rule(2), {"net": Rule(named=("1", "3"))})),
        (
            "net=1,cat=2,3,all",
            Policy(Rule(), {"net": Rule(named=("1",)), "cat": Rule(named=("2", "3"))}),
        ),
        ("net=all,cat=latest:3", Policy(Rule(1), {"net": Rule(), "cat": Rule(3)})),
    ],
)
def test_what_it_says(text: str, policy: Policy) -> None:
    assert parse_policy(text.split(",")) == policy


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("latest:0", "at least 1"),
        ("latest:-1", "at least 1"),
        ("latest:x", "at least 1"),
        ("latest", "a version without a name"),
        ("net=", "empty"),
        ("=1", "no name"),
        ("net=1,,2", "empty"),
        ("net=1,net=2", "twice"),
        ("latest:1,all", "both meant for every name"),
    ],
)
def test_what_cannot_be_meant(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_policy(text.split(","))


def test_candidates_come_newest_first() -> None:
    assert Rule(2).candidates(["9", "10", "1"]) == ["10", "9", "1"]
    assert Rule(named=("1", "9", "77")).candidates(["9", "10", "1"]) == ["9", "1"]
