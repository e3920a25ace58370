"""Can the server listen where it is told to?"""

from collections.abc import Iterator
from contextlib import ExitStack

from serving.doctor.finding import Case, Finding
from serving.errors import StartupError
from serving.listener import listen

ADVICE = "stop what listens there (ss -ltnp names it), unless that is the server itself"


def check(case: Case) -> Iterator[Finding]:
    """Bind both ports at once, as the server does, without answering anybody."""
    config = case.config
    with ExitStack() as held:
        for protocol, flag, port in (
            ("gRPC", "--grpc-port", config.grpc_port),
            ("HTTP", "--http-port", config.http_port),
        ):
            try:
                held.enter_context(listen(config.host, port, protocol, flag))
            except StartupError as error:
                same = port and config.grpc_port == config.http_port
                twice = "give --grpc-port and --http-port different numbers"
                yield Finding("fail", str(error), twice if same else ADVICE)
            else:
                where = f"{config.host}:{port}" if port else f"a free port of {config.host}"
                yield Finding("ok", f"{protocol} can listen on {where}")
