"""Token files: what they may say, and what is said of those that are wrong."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.access.identity import Identity, Role
from serving.access.tokens import NAME, Credentials, line, new_token, parse
from serving.errors import StartupError

# Not new ones: they stand in the names of tests, which all runs must share.
TOKEN = new_token()[:4] + "A" * 43
LINE = line("alice", TOKEN, "classify,read")
OTHER = line("bob", TOKEN.swapcase(), "admin")


def read(*lines: str) -> Credentials:
    return parse("\n".join(lines).encode(), "tokens")


def test_a_file_with_all_that_it_may_hold() -> None:
    credentials = read("\ufeff# name digest roles\r", "", f"  {LINE}\t\r", "cert:dashboard read")
    alice = Identity("alice", frozenset({Role.CLASSIFY, Role.READ}))
    assert credentials.of_token(TOKEN) == alice
    assert credentials.certificates == {"dashboard": Identity("cert:dashboard", {Role.READ})}


def test_a_digest_is_what_other_programs_compute() -> None:
    assert f" sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()} " in LINE


def test_tokens_are_long_and_differ() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {4 + 43}  # 256 bits as base64


@given(st.text().filter(lambda text: text != TOKEN))
def test_nothing_else_is_a_token(text: str) -> None:
    assert read(LINE).of_token(text) is None


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_a_token_that_is_almost_right_is_wrong(at: int, character: str) -> None:
    almost = TOKEN[:at] + character + TOKEN[at + 1 :]
    assert (read(LINE).of_token(almost) is None) == (almost != TOKEN)
    assert read(LINE).of_token(TOKEN[:at]) is None


@given(
    st.dictionaries(
        st.from_regex(NAME, fullmatch=True).filter(str.isascii),
        st.sets(st.sampled_from(Role), min_size=1),
        min_size=1,
    )
)
def test_all_lines_are_read(callers: dict[str, set[Role]]) -> None:
    tokens = {name: new_token() for name in callers}
    credentials = read(*(line(n, tokens[n], ",".join(roles)) for n, roles in callers.items()))
    for name, roles in callers.items():
        assert credentials.of_token(tokens[name]) == Identity(name, frozenset(roles))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (LINE.replace("alice", "bob"), "line 3: line 1 has the same name"),
        (LINE.replace("alice", "carol") + "\n" + LINE, "line 4: line 3 has the same digest"),
        (LINE.replace("sha256:", ""), "line 3: the second word must be `sha256:` and 64 digits"),
        (LINE.replace("sha256:", "sha512:"), "line 3: the second word must be `sha256:`"),
        ("x sha256:abc read", "line 3: the second word must be `sha256:` and 64 digits"),
        (LINE.replace("read", "write"), "line 3: roles are classify, read, admin"),
        (LINE.replace("read", "classify"), "line 3: roles are classify, read, admin"),
        (LINE.replace("read", ""), "line 3: roles are classify, read, admin"),
        (LINE.replace(",", ", "), "line 3: a line is `NAME sha256:DIGEST ROLES`"),
        (f"x {TOKEN} read", "line 3: this is a token, not its digest"),
        (f"x sha256:{TOKEN} read", "line 3: this is a token, not its digest"),
        (f"{TOKEN} sha256:{'0' * 64} read", "line 3: this is a token, not its digest"),
        ("cert:x classify read", "line 3: a line is"),
        ("cert: read", "line 3: a line is"),
        ("cert:x", "line 3: a line is"),
        ("cert:x read\ncert:x read", "line 4: line 3 has the same name"),
        ("alice", "line 3: a line is"),
        (LINE.replace("alice", "al/ce"), "line 3: a name begins with a letter or digit"),
        (LINE.replace("alice", "a" * 65), "line 3: a name begins with a letter or digit"),
        (LINE.replace("alice", "älice"), "line 3: a name begins with a letter or digit"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_never_quoted(text: str, complaint: str) -> None:
    with pytest.raises(StartupError, match=r"^tokens, ") as raised:
        read(OTHER, "# comment", text)
    assert complaint in str(raised.value)
    assert TOKEN not in str(raised.value)
    assert LINE.split()[1] not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("text", ["", "\n", "# nobody\n"])
def test_a_file_without_a_line_says_how_to_make_one(text: str) -> None:
    with pytest.raises(StartupError, match=r"nobody could call.*serving token NAME --file tokens"):
        read(text)


def test_what_is_no_text_is_told_with_its_line() -> None:
    with pytest.raises(StartupError, match="tokens, line 2: this is not UTF-8"):
        parse(b"# one\n\xff\xfe", "tokens")


def test_credentials_have_no_text_that_tells_what_they_hold() -> None:
    assert LINE.split()[1].removeprefix("sha256:") not in repr(read(LINE))
    assert "alice" not in repr(read(LINE))


@given(st.binary())
def test_no_file_is_read_without_a_clear_answer(data: bytes) -> None:
    try:
        credentials = parse(data, "tokens")
    except StartupError as error:
        assert str(error).startswith("tokens")  # noqa: PT017 - or it is right
    else:
        assert credentials.tokens or credentials.certificates
