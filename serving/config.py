"""The server's settings: flags, environment (`SERVING_*`) and help from one declaration."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliToggleFlag, SettingsConfigDict

from cli.program import FLAGS
from serving.backends.settings import DEFAULTS
from serving.settings.access import AccessSettings
from serving.settings.frontends import FrontEndSettings
from serving.settings.life import LifeSettings
from serving.settings.limits import LimitSettings
from serving.settings.models import ModelSettings
from serving.settings.network import NetworkSettings
from serving.settings.page import PageSettings
from serving.settings.record import RecordSettings
from serving.settings.repository import RepositorySettings
from serving.settings.signature import SignatureSettings
from serving.settings.tls import TlsSettings, is_local
from serving.settings.types import LitePython


class DevicesConfig(BaseSettings):
    """List the devices that this machine can serve on and, for the others, what is missing."""

    model_config = SettingsConfigDict(
        **FLAGS, env_prefix="SERVING_", cli_prog_name="python -m serving devices"
    )

    lite_python: LitePython = DEFAULTS.lite_python
    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print JSON instead of a table"
    )


# The last one stands first in --help.
class ServingConfig(
    RecordSettings,
    FrontEndSettings,
    LifeSettings,
    LimitSettings,
    AccessSettings,
    TlsSettings,
    PageSettings,
    NetworkSettings,
    SignatureSettings,
    RepositorySettings,
    ModelSettings,
):
    """Serve image classifiers over gRPC and HTTP, with health and metrics.

    Every flag is also an environment variable: --grpc-port is SERVING_GRPC_PORT. A flag wins.
    `python -m serving devices` lists the devices that this machine can serve on, `python -m serving
    tune` finds the fastest settings for a bundle on its CPU, `python -m serving doctor` checks what
    would keep a server with the same flags from working.
    """

    model_config = SettingsConfigDict(
        **FLAGS,
        env_prefix="SERVING_",
        cli_prog_name="python -m serving",
        frozen=True,
        extra="forbid",
    )

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if not self.model and not self.repository:
            raise ValueError("required: --model (a bundle directory), --repository, or both")
        if self.also_precision and not self.model:
            raise ValueError("--also-precision is for bundles of --model, and there is none")
        if self.precision in self.also_precision:
            raise ValueError(f"--also-precision {self.precision}: that is --precision already")
        if self.model_name and (self.repository or len(self.model) > 1):
            raise ValueError(
                f"--model-name {self.model_name} is for one --model alone: bundles of a "
                f"--repository, and several of --model, have their own names"
            )
        return self

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        asks = self.token_file or self.tls_client_ca
        if not (is_local(self.host) or (self.tls_cert and asks) or self.insecure):
            raise ValueError(
                f"--host {self.host} would let in whoever reaches that address, or send tokens and "
                f"images in the clear. Either listen on --host 127.0.0.1, behind a proxy that "
                f"keeps strangers out; or keep them out here, with --tls-cert and --tls-key, and "
                f"--token-file or --tls-client-ca; or, if the network is trusted, say so with "
                f"--insecure"
            )
        return self
