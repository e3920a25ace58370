import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from serving.config import ServingConfig


def parse(*arguments: str) -> ServingConfig:
    return CliApp.run(ServingConfig, cli_args=list(arguments))


def test_defaults() -> None:
    config = parse("--model", "bundle")
    assert (config.model, config.device, config.grpc_port) == ([Path("bundle")], "cpu", 50051)
    assert config.max_message_bytes == 32 * 1024 * 1024


def test_a_flag_wins_over_the_environment_and_that_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SERVING_MODEL", "a,b")
    monkeypatch.setenv("SERVING_GRPC_PORT", "1")
    monkeypatch.setenv("SERVING_HTTP_PORT", "2")
    config = parse("--grpc-port", "3")
    assert config.model == [Path("a"), Path("b")]
    assert (config.grpc_port, config.http_port, config.threads) == (3, 2, 1)


def test_several_models_and_buckets() -> None:
    config = parse("--model", "a", "--model", "b", "--buckets", "1,4,32")
    assert config.model == [Path("a"), Path("b")]
    assert config.buckets == (1, 4, 32)


def test_a_policy_for_several_names() -> None:
    flags = ("--version-policy", "net=1,3", "--version-policy", "cat=all,latest:2")
    policy = parse("--repository", "r", *flags).policy
    assert [str(policy.rule(name)) for name in ("net", "cat", "dog")] == ["1,3", "all", "latest:2"]


def test_options_of_a_provider() -> None:
    config = parse("--model", "a", "--cuda-options", "fuse_conv_bias=1,prefer_nhwc=0")
    assert config.runtime_settings.cuda_options == ("fuse_conv_bias=1", "prefer_nhwc=0")
    assert parse("--model", "a").runtime_settings.cuda_options == ()


def test_nothing_mutates_it() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse("--model", "a").threads = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--repository", "r", "--version-policy", "latest:0"], "at least 1"),
        (["--model", "a,b", "--model-name", "x"], "--model-name x is for one --model alone"),
        (["--repository", "r", "--model-name", "x"], "--model-name x is for one --model alone"),
        (["--model", "a", "--model-name", "../x"], "should match pattern"),
        (["--version-policy", "latest:2"], "is for --repository, which is not given"),
        (["--model-control", "poll"], "is for --repository, which is not given"),
        (["--repository", "r", "--load-model", "net"], "is for --model-control explicit"),
        (["--grpc-port", "65536"], "less than or equal to 65535"),
        (["--threads", "0"], "greater than 0"),
        (["--threads", "1000000"], "less than or equal to 1024"),
        (["--instances", "50000"], "less than or equal to 1024"),
        (["--decode-threads", "50000"], "less than or equal to 1024"),
        (["--buckets", "1,100000000"], "less than or equal to 4096"),
        (["--grace-period-s", "inf"], "less than or equal to 86400"),
        (["--grace-period-s", "nan"], "less than or equal to 86400"),
        (["--grace-period-s", "-1"], "greater than 0"),
        (["--shutdown-delay-s", "inf"], "less than or equal to 86400"),
        (["--batch-timeout-s", "1e300"], "less than or equal to 86400"),
        (["--default-timeout-ms", str(10**30)], "less than or equal to 86400000"),
        (["--slo-ms", str(10**30)], "less than or equal to 86400000"),
        (["--max-message-bytes", "3000000000"], "less than or equal to 2147483647"),
        (["--max-inflight-images", str(10**12)], "less than or equal to 1048576"),
        (["--device-memory-mib", str(10**30)], "less than or equal to 16777216"),
        (["--host", ""], "at least 1 character"),
        *(
            (
                ["--host", host, *flags],
                "--token-file or --tls-client-ca; or, .*--insecure",
            )
            for host in ("0.0.0.0", "::", "192.0.2.7", "example.com")
            for flags in ([], ["--token-file", "t"], ["--tls-cert", "c", "--tls-key", "k"])
        ),
        (["--tls-key", "k"], "--tls-key needs --tls-cert: TLS has a certificate and a key"),
        (["--tls-cert", "c"], "--tls-cert needs --tls-key"),
        (["--tls-client-ca", "a"], "--tls-client-ca needs --tls-cert and --tls-key"),
        (["--cors-origins", "example.com"], "'example.com' must be an origin as browsers send it"),
        (["--cors-origins", "https://Example.com"], "in small letters"),
        (["--cors-origins", "*,https://example.com/"], "without a slash at the end"),
        (["--cors-origins", "https://"], "scheme, host and port"),
        (["--max-connection-age-s", "0"], "greater than 0"),
        (["--precision", "int8", "--also-precision", "int8"], "int8: that is --precision already"),
        (["--also-precision", "fp8"], "'fp32', 'bf16', 'fp16' or 'int8'"),
        (["--precision", "fp8"], "'fp32', 'bf16', 'fp16' or 'int8'"),
        (["--buckets", "4,2"], r"must ascend; use \[2, 4\]"),
        (["--cuda-options", "fuse_bias=1"], "'fuse_bias=1' must be one of arena_extend_strategy, "),
        (["--cuda-options", "prefer_nhwc"], "'prefer_nhwc' must be one of"),
        (["--max-transfer-bytes", "8"], "never be admitted with --max-transfer-bytes 8"),
        (["--max-inflight-images", "8"], "never be admitted with --max-inflight-images 8"),
        (["--max-share", "0.1"], "--max-inflight-images 1024 and --max-share 0.1"),
        (["--max-share", "0"], "greater than 0"),
        (["--max-share", "1.5"], "less than or equal to 1"),
    ],
)
def test_impossible_settings_are_refused(arguments: list[str], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        parse("--model", "a", *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--host", "127.8.9.1"],
        ["--host", "::1"],
        ["--host", "localhost"],
        ["--host", "0.0.0.0", "--insecure"],
        ["--host", "::", "--tls-cert", "c", "--tls-key", "k", "--token-file", "t"],
        ["--host", "::", "--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a"],
        ["--cors-origins", "https://example.com,http://localhost:3000,*"],
    ],
)
def test_who_is_let_in_is_said(arguments: list[str]) -> None:
    parse("--model", "a", *arguments)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_wrong_usage_names_the_flags_without_a_traceback() -> None:
    done = run("--grpc-port", "many")
    assert done.returncode == 2
    assert "--grpc-port: Input should be a valid integer" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_models_it_says_where_they_may_come_from() -> None:
    done = run()
    assert done.returncode == 2
    assert "required: --model (a bundle directory), --repository, or both" in done.stderr


HEAVY = {"cv2", "grpc", "numpy", "onnxruntime", "openvino", "PIL", "fastapi", "starlette"}


def test_help_explains_every_flag_and_imports_no_runtime() -> None:
    script = (
        f"HEAVY = {HEAVY}\n"
        "import runpy, sys; sys.argv = ['serving', '--help']\n"
        "try: runpy.run_module('serving', run_name='__main__')\n"
        "except SystemExit: print(sorted(HEAVY & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.endswith("[]\n")
    assert "`python -m serving devices` lists" in done.stdout
    for field, info in ServingConfig.model_fields.items():
        assert f"--{field.replace('_', '-')} " in done.stdout
        assert info.description


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:4317", "ftp://host:1", "http://", "http://host", "http://host:x", "http://host:0",
        "http://host:70000", "http://host:4317/v1/traces", "http://user@host:4317", "http://[::1:4",
        "http://host:4317?a=b", "", "http://ho\nst:4317",
    ],
)  # fmt: skip
def test_a_collector_must_have_an_origin(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="must be http:// or https://, a host and a port"):
        ServingConfig.model_validate({"model": ["m"], "otlp_endpoint": endpoint})


@pytest.mark.parametrize("endpoint", ["http://localhost:4317", "https://[::1]:4317/"])
def test_a_collector(endpoint: str) -> None:
    ServingConfig.model_validate({"model": ["m"], "otlp_endpoint": endpoint, "trace_share": 1})


@pytest.mark.parametrize(
    ("share", "message"), [("0.5", "needs --otlp-endpoint"), ("1.1", "less than"), ("nan", "than")]
)
def test_a_share_of_traces(share: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ServingConfig.model_validate({"model": ["m"], "trace_share": share})


def test_precisions_besides_are_for_bundles_that_are_given() -> None:
    with pytest.raises(ValidationError, match="--also-precision is for bundles of --model"):
        parse("--repository", "r", "--also-precision", "int8")
