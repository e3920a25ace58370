"""Clients of Triton send a token as a header."""

from pathlib import Path

from serving.access.tokens import line, new_token
from tests.support.foreign import foreign
from tests.support.paths import SHIPPED
from tests.support.process import serve

FOREIGN = Path(__file__).parent / "foreign"


def test_they_are_let_in_with_a_token_and_not_without(tmp_path: Path) -> None:
    token, tokens = new_token(), tmp_path / "tokens"
    tokens.write_text(line("triton", token, "classify"))
    tokens.chmod(0o600)
    with serve(SHIPPED, "--token-file", str(tokens)) as server:
        done = foreign(
            *("-m", "pytest", "-c", FOREIGN / "pytest.ini", "-p", "no:cacheprovider", "--quiet"),
            FOREIGN / "guarded.py",
            SERVER_GRPC=server.grpc,
            SERVER_HTTP=server.http.removeprefix("http://"),
            TOKEN=token,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 passed" in done.stdout
