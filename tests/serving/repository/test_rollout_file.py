"""`rollout.yaml`: what it says, what it may not say, and how a label is changed in its text."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.rollout import Rollout
from serving.repository.rollout_file import LARGEST_FILE, RolloutError, RolloutFile, read
from serving.repository.rollout_yaml import LABEL

WHOLE = """\
# Ticket 12: 2 was trained on the photos of July.
stable: 1  # since May
canary: {version: 2, share: 10%}  # until Monday
shadow:
  # the one with the new crop
  version: 1.10

# nothing follows
"""


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "rollout.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def of(text: str) -> RolloutFile:
    return RolloutFile.of(text, Path("net/rollout.yaml"))


def test_what_it_says(tmp_path: Path) -> None:
    rollout = read(write(tmp_path, WHOLE)).rollout
    assert rollout == Rollout({"stable": "1", "canary": "2", "shadow": "1.10"}, 0.1)
    assert [rollout.share_of(label) for label in rollout.versions] == [0.9, 0.1, 0.0]


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "---\n...\n", "\ufeff"])
def test_no_labels(tmp_path: Path, text: str) -> None:
    assert read(write(tmp_path, text)).rollout == Rollout()


def test_no_file(tmp_path: Path) -> None:
    assert read(tmp_path / "rollout.yaml").rollout == Rollout()


@pytest.mark.parametrize(
    ("text", "version"),
    [("stable: 1.10", "1.10"), ("stable: 0x10", "0x10"), ("stable: 2026-07-01", "2026-07-01"),
     ("stable: 'yes'", "yes"), ("\ufeffstable: 007\r\n", "007"), ("'stable': 1", "1")],
)  # fmt: skip
def test_a_version_stays_what_it_is(tmp_path: Path, text: str, version: str) -> None:
    assert read(write(tmp_path, text)).rollout.versions == {"stable": version}


@pytest.mark.parametrize("share", ["0.5%", "10 %", "100%", "33.333%"])
def test_shares(share: str) -> None:
    rollout = of(f"canary: {{version: 2, share: {share}}}").rollout
    assert rollout.canary_share == pytest.approx(float(share.rstrip("% ")) / 100)


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("stable: 1\n\nstable: 2\n", 3, "'stable' is there twice"),
        ("canary: {version: 2, share: 1%, share: 2%}", 1, "'share' is there twice"),
        ("canary: {version: 2, share: 0%}", 1, "'0%' is no share; write one above 0%"),
        ("canary: {version: 2, share: 0.000%}", 1, "is no share"),
        ("canary: {version: 2, share: 101%}", 1, "above 0% and up to 100%"),
        ("canary: {version: 2, share: -1%}", 1, "is no share"),
        ("canary: {version: 2, share: nan%}", 1, "is no share"),
        ("canary: {version: 2, share: 10}", 1, "'10' is no share; write one above 0%, such as 10%"),
        ("canary: {version: 2, share: 0.1}", 1, "is no share"),
        ("canary: {version: 2, share: most}", 1, "is no share"),
        ("canary: {version: 2, share:}", 1, "is no share"),
        ("stable: 1\ncanary:\n  version: 2\n  share: most", 4, "'most' is no share"),
        ("stable: {version: 1, share: 10%}", 1, "only canary has a share"),
        ("canary: {share: 10%}", 1, "a label states a version"),
        ("canary: {version: 2, portion: 10%}", 1, "a label states a version and perhaps a share"),
        ("canary: {}", 1, "a label states a version"),
        ("stable: [1, 2]", 1, "write one label a line"),
        ("canary: {version: {version: 2}}", 1, "write one label a line"),
        ("canary: {version: 2, share: [10%]}", 1, "write one label a line"),
        ("stable:\n", 1, "'' is no version"),
        ("stable: ../1", 1, "is no version"),
        ("stable: 1 2", 1, "'1 2' is no version"),
        ("stable: |\n  1\n", 1, "is no version"),
        ("1: 2", 1, "'1' is no label"),
        ("v2: 2", 1, "'v2' is no label.*does not look like a version"),
        ("1.0: 2", 1, "is no label"),
        ("Stable: 2", 1, "is no label"),
        ("'': 2", 1, "is no label"),
        ("a b: 2", 1, "is no label"),
        ("a" * 33 + ": 2", 1, "is no label"),
        ("[stable]: 1", 1, "write one label a line"),
        ("? {a: b}\n: 1", 1, "write one label a line"),
        ("{stable: 1}", 1, "write one label a line"),
        ("stable", 1, "write one label a line"),
        ("- stable: 1", 1, "write one label a line"),
        ("stable: 1\n---\ncanary: 2", 3, "write one label a line"),
        ("stable: &a 1\ncanary: *a", 1, "an anchor, an alias or a tag"),
        ("stable: !!python/object/apply:os.system [ls]", 1, "an anchor, an alias or a tag"),
        ("<<: *a", 1, "an anchor, an alias or a tag"),
        ("stable: 1\n\tcanary: 2", 2, "is no version|indent with spaces"),
        ("canary:\n\tversion: 2", 2, "indent with spaces"),
        ("stable: 1\ncanary: {version: 2", 2, "it is not YAML"),
        ("stable: 1\ncanary: @2", 2, "it is not YAML"),
        ("stable: 1\ncanary: 2\x00", 2, "a character that YAML does not allow"),
        ("stable: " + "[" * 10_000, 1, "write one label a line"),
        ("stable: 1\n" + "{a: " * 3_000, 2, "it is not YAML|write one label a line"),
    ],
)  # fmt: skip
def test_what_it_may_not_say(text: str, line: int, complaint: str) -> None:
    with pytest.raises(RolloutError, match=complaint) as found:
        of(text)
    assert str(found.value).startswith(f"net/rollout.yaml:{line}: ")


def test_a_bomb_is_never_expanded() -> None:
    doubled = "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(RolloutError, match="an anchor"):
        of(f"a: &a 1\n{doubled}")


def test_what_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match=r"rollout.yaml:2: it is not UTF-8"):
        read(write(tmp_path, b"stable: 1\ncanary: \xff\n"))


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, "#" * LARGEST_FILE)
    assert read(path).rollout == Rollout()
    with path.open("ab") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(RolloutError, match=f"more than {LARGEST_FILE} bytes"):
        read(path)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rollout.yaml")
    with pytest.raises(RolloutError, match="is not a file"):
        read(tmp_path / "rollout.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="is not a file"):
        read(tmp_path)


def test_an_error_about_a_label_names_its_line() -> None:
    with pytest.raises(RolloutError, match=r"^net/rollout.yaml:4: shadow: too many classes$"):
        of(WHOLE).refuse("shadow", "too many classes")


def test_a_label_is_moved_in_its_line() -> None:
    assert of(WHOLE).with_label("stable", "2").text == WHOLE.replace("stable: 1 ", "stable: 2 ")


def test_a_share_is_changed_in_its_line() -> None:
    text = of(WHOLE).with_label("canary", "3", 0.255).text
    assert text == WHOLE.replace("{version: 2, share: 10%}", "{version: 3, share: 25.5%}")


@given(st.floats(1e-8, 1))
def test_any_share_is_written_as_it_is_read(share: float) -> None:
    file = of("").with_label("canary", "2", share)
    assert file.rollout.canary_share == pytest.approx(share, abs=1e-8)


def test_a_canary_without_a_share_is_only_a_name() -> None:
    text = of(WHOLE).with_label("canary", "3").text
    assert text == WHOLE.replace("{version: 2, share: 10%}", "3")


def test_lines_of_a_mapping_are_replaced() -> None:
    text = of(WHOLE).with_label("shadow", "4").text
    assert text.endswith("\nshadow: 4\n\n# nothing follows\n")


def test_a_label_is_added_at_the_end() -> None:
    assert of("").with_label("stable", "1").text == "stable: 1\n"
    assert of("  stable: 1").with_label("best", "2").text == "  stable: 1\n  best: 2\n"


def test_a_label_is_removed_with_its_lines() -> None:
    assert of(WHOLE).without_label("canary").text == WHOLE.replace(
        "canary: {version: 2, share: 10%}  # until Monday\n", ""
    )
    assert "shadow" not in of(WHOLE).without_label("shadow").text
    assert of("stable: 1").without_label("stable").text == ""


def test_what_cannot_be_changed_is_refused() -> None:
    with pytest.raises(RolloutError, match="it is not YAML"):
        of("stable: 1\n...\n").with_label("best", "2")


labels = st.from_regex(LABEL, fullmatch=True)
versions = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,5}", fullmatch=True)
changes = st.lists(st.tuples(labels, versions | st.none()), max_size=8)


@given(changes, st.sampled_from(["", WHOLE, "stable: 1\r\ncanary: 2\r\n", "---\nstable: 1"]))
def test_any_changes_say_what_a_mapping_says(
    changes: list[tuple[str, str | None]], text: str
) -> None:
    file = of(text)
    expected = dict(file.rollout.versions)
    for label, version in changes:
        if version is not None:
            file = file.with_label(label, version)
            expected[label] = version
        elif label in expected:
            file = file.without_label(label)
            del expected[label]
        assert file.rollout.versions == expected
        assert of(file.text).rollout == file.rollout


def test_it_is_written_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    path.chmod(0o640)
    read(path).with_label("stable", "2").write()
    assert read(path).rollout.versions["stable"] == "2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    link = tmp_path / "other" / "rollout.yaml"
    link.parent.mkdir()
    link.symlink_to(path)
    read(link).with_label("stable", "2").write()
    assert link.is_symlink()
    assert read(path).rollout.versions["stable"] == "2"
