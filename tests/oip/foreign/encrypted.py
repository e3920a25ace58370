"""Clients of Triton, in the four ways, against a server that speaks TLS and asks for certificates.

Not collected: `tests/oip/test_tls.py` runs it, with a server of its own, and files in `CA`, `CERT`
and `KEY`.
"""

import os
import ssl

import pytest
from callers import FILES, GRPC, HTTP, TRUTH, Caller, encoded
from conftest import FLAVOURS

CA, CERTIFICATE, KEY = (os.environ[name] for name in ("CA", "CERT", "KEY"))


class EncryptedCaller(Caller):
    """The same over TLS, with or without a certificate of its own."""

    def __init__(self, flavour, *, shows):
        self.shows = shows
        super().__init__(flavour)

    async def _connect(self):
        client = self.module.InferenceServerClient
        own = (KEY, CERTIFICATE) if self.shows else (None, None)
        if not self.http:
            return client(
                GRPC, ssl=True, root_certificates=CA, private_key=own[0], certificate_chain=own[1]
            )
        context = ssl.create_default_context(cafile=CA)
        if self.shows:
            context.load_cert_chain(CERTIFICATE, KEY)
        if self.flavour == "http.aio":
            return client(HTTP, ssl=True, ssl_context=context)
        return client(HTTP, ssl=True, ssl_context_factory=lambda: context)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_certificate_lets_in(flavour):
    caller = EncryptedCaller(flavour, shows=True)
    assert caller.call("is_server_ready")
    for _ in range(2):
        assert caller.classify(encoded(FILES)).argmax(axis=1).tolist() == TRUTH
    caller.close()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_without_one_nobody_is_answered(flavour):
    caller = EncryptedCaller(flavour, shows=False)
    with pytest.raises(Exception, match=r"(?i)certificate|closed|handshake|reset|disconnected"):
        caller.classify(encoded(FILES))
    caller.close()
