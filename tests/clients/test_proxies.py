"""No proxy stands between a client and its own machine; elsewhere, one that is set is named."""

import socket

import pytest

from clients import ClassifierClient, UnavailableError
from clients.proxies import VARIABLES, is_local


@pytest.mark.parametrize(
    "address",
    [
        *("localhost:50051", "LOCALHOST:1", "localhost.:1", "localhost", "dns:///localhost:1"),
        *("127.0.0.1:1", "127.8.9.1:1", "ipv4:127.0.0.1:1", "0.0.0.0:1"),
        *("[::1]:1", "::1", "ipv6:[::1]:1", "[::]:1", "[::ffff:127.0.0.1]:1"),
        *("ipv4:127.0.0.1:1,127.0.0.2:2", "ipv6:[::1]:1,[::1]:2"),
        *("unix:/run/x", "unix:///run/x", "unix-abstract:x"),
    ],
)
def test_this_machine_is_known_by_all_its_names(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "example.org:50051",
            "10.0.0.1:1",
            "localhost.example.org:1",
            "unixbox:1",
            "127.0.0.1.example.org:1",
        ),
        *("dns://127.0.0.1/example.org:1", "[fe80::1%eth0]:1", "[::ffff:10.0.0.1]:1"),
        *("ipv4:127.0.0.1:1,10.0.0.1:1", "ipv6:[::1]:1,[fe80::1]:1", "127.0.0.1:1,10.0.0.1:1"),
        *("", "[::1", "no such thing:x", "unixbox:1"),
    ],
)
def test_another_machine_is_not_taken_for_this_one(address: str) -> None:
    assert not is_local(address)


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_proxy_is_not_asked_for_this_machine(server, variable, monkeypatch) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with ClassifierClient(server.address) as client:
        assert client.classify([b"x"])


def test_a_failure_elsewhere_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{closed.getsockname()[1]}")
        with (
            ClassifierClient("server.invalid:50051") as client,
            pytest.raises(UnavailableError, match=r"https_proxy is set, .* no_proxy") as caught,
        ):
            client.list_models(timeout_s=5)
    assert "secret" not in str(caught.value)
