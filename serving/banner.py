"""What a server that is ready prints: where it listens, and a command to try it."""

import shlex
import sys
from pathlib import Path

from bundle.golden import GOLDEN, GoldenSet
from bundle.store import Bundle

LOCAL = {"127.0.0.1", "0.0.0.0", "::1", "::", "localhost"}  # noqa: S104 - compared, not bound


def banner(bundle: Bundle, host: str, grpc_port: int, http_port: int) -> str:
    """Return the lines for a server that answers with (among others) the model of `bundle`."""
    name = "localhost" if host in LOCAL else f"[{host}]" if ":" in host else host
    python, image = _quoted(Path(sys.executable)), _quoted(_sample(bundle))
    return (
        f"gRPC  {name}:{grpc_port}\n"
        f"HTTP  http://{name}:{http_port}/metrics\n"
        f"Try   {python} -m clients classify {image} --address {name}:{grpc_port}"
    )


def _sample(bundle: Bundle) -> Path:
    golden = GoldenSet.model_validate_json((bundle.path / GOLDEN).read_bytes())
    return bundle.path / golden.images[0].path


def _quoted(path: Path) -> str:
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
