"""No token reaches a log, whatever goes wrong with it."""

import contextlib
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from serving.access.tokens import line, new_token
from serving.config import ServingConfig
from tests.support.process import ready, start

# Not new ones: one stands in the name of a test, which all runs must share.
KNOWN, UNKNOWN, REVOKED = (f"{new_token()[:4]}{text * 43}" for text in "KUR")


def test_a_server_that_logs_all_it_can_tells_no_token(tiny: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{line('alice', KNOWN, 'classify')}\n{line('bob', REVOKED, 'admin')}\n")
    flags = ["--token-file", str(tokens), "--log-level", "DEBUG", "--max-message-bytes", "10000"]
    process = start(tiny, *flags)
    try:
        server = ready(process)
        tokens.write_text(f"{line('alice', KNOWN, 'classify')}\nbob {REVOKED} admin\n")
        assert process.stderr
        log = ""
        while "stay in force" not in log:
            log += process.stderr.readline()
        for token in (KNOWN, UNKNOWN, REVOKED):
            _try_all(server.grpc, server.http, token)
        process.send_signal(signal.SIGTERM)
        log += process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert f"{tokens}, line 2: this is a token, not its digest" in log
    assert "/metrics is refused to 127.0.0.1: " in log
    digests = [each.split()[1].removeprefix("sha256:") for each in tokens.read_text().splitlines()]
    for secret in (KNOWN, UNKNOWN, REVOKED, *digests):
        assert secret not in log
        assert secret[8:-8] not in log


def _try_all(address: str, url: str, token: str) -> None:
    """Send a token in each place where it could be, with what is wrong in each other way."""
    bearer = f"Bearer {token}"
    for path in ("/metrics", "/v1/classify", f"/{token}", f"/metrics?token={token}"):
        for value in (bearer, f"Basic {token}", token):
            for body in (None, b"x", b"x" * 20_000):
                asked = urllib.request.Request(url + path, body, {"authorization": value})
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    urllib.request.urlopen(asked).read()
    with grpc.insecure_channel(address) as channel:
        for method in ("Classify", "ListModels", "GetModel", token):
            for value in (bearer, token):
                for body in (b"", b"\xff", b"x" * 20_000):
                    call = channel.unary_unary(f"/resnext.serving.v1.Classifier/{method}")
                    with contextlib.suppress(grpc.RpcError):
                        call(body, metadata=[("authorization", value)], timeout=10)


def test_settings_name_the_file_only(tiny: Path, tmp_path: Path) -> None:
    config = ServingConfig.model_validate({"model": [tiny], "token_file": tmp_path / "tokens"})
    assert f"token_file={tmp_path / 'tokens'!r}" in repr(config)


def test_a_token_on_the_command_line_is_no_file(tiny: Path, tmp_path: Path) -> None:
    """The server says what it cannot read, and starts for nobody."""
    process = start(tiny, "--token-file", str(tmp_path / "none"))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == (
        f"error: the token file {tmp_path / 'none'} cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize("content", [b"", b"alice", b"\xff", f"alice {KNOWN} read".encode()])
def test_a_wrong_file_ends_the_start_in_one_line(
    tiny: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(content)
    process = start(tiny, "--token-file", str(path), stderr=subprocess.PIPE)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"error: {path}")
    assert KNOWN not in errors
