"""From one file of a bundle to backends that have proved themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from bundle.manifest import ModelFile
from bundle.store import Bundle
from serving.backends.backend import Backend, Instance
from serving.backends.devices import Device
from serving.backends.runtimes import load
from serving.backends.sealed import SealedModel
from serving.backends.settings import Runtime, RuntimeSettings
from serving.engine.wide import candidates
from serving.errors import ProcessLostError, StartupError
from serving.proof import Prover


@dataclass(frozen=True)
class Loader:
    """One file of a bundle and how it runs: opens backends that have proved themselves.

    `sealed` takes the place of the file, if there is any.
    """

    bundle: Bundle
    file: ModelFile
    buckets: list[int]
    settings: RuntimeSettings
    runtime: Runtime | None = None
    sealed: SealedModel | None = None

    def open(self, device: Device, instances: int, *, is_proved: bool = False) -> list[Instance]:
        """Return this many instances on a device; raise as `load_model` does.

        If another process has proved them, one only shows that it computes the same in this one.
        """
        backends = self._load(device, instances, self.buckets)
        if is_proved:
            prove = partial(self._prover.check, backends[0], self.buckets[0])
        else:
            alike = device.kind == "cpu"
            prove = partial(self._prover.prove, backends, self.buckets, alike=alike)
        _or_close(backends, prove)
        reopen = partial(self._reopen, device)
        return [Instance(backend, reopen) for backend in backends]

    def widen(
        self, instances: Sequence[Instance], threads: int, *, is_proved: bool = False
    ) -> Backend | None:
        """Return a backend that runs a batch on this many threads, over the instances' weights.

        None if their runtime offers none. Raises as `load_model` does.
        """
        wide = instances[0].backend.widen(threads)
        if wide and not is_proved:
            sizes = candidates(self.buckets, len(instances))
            _or_close([wide], partial(self._prover.prove, [wide], sizes, alike=True))
        return wide

    def _reopen(self, device: Device, buckets: Sequence[int]) -> Backend:
        """Open an instance again, after failures that say nothing of the device.

        A GPU on which that fails is lost: CUDA may keep an error that no message of a batch showed,
        and all attempts would be in vain.
        """
        alike = device.kind == "cpu"
        try:
            [backend] = self._load(device, 1, buckets)
            _or_close([backend], partial(self._prover.prove, [backend], buckets, alike=alike))
        except StartupError as error:
            if device.kind not in ("cuda", "tensorrt"):
                raise
            raise ProcessLostError(
                f"{device} cannot be reopened in this process: {error}"
            ) from error
        return backend

    def _load(self, device: Device, instances: int, buckets: Sequence[int]) -> list[Backend]:
        return load(
            self.bundle.path,
            self.bundle.manifest,
            self.file,
            runtime=self.runtime,
            device=device,
            instances=instances,
            buckets=buckets,
            settings=self.settings,
            sealed=self.sealed,
        )

    @cached_property
    def _prover(self) -> Prover:
        """One for all devices and every reopening: it reads and decodes the golden images once."""
        return Prover(self.bundle, self.file)


def _or_close(backends: Sequence[Backend], prove: Callable[[], None]) -> None:
    """Prove backends, or close them unless the process has lost their device."""
    try:
        prove()
    except ProcessLostError:
        raise
    except BaseException:
        for backend in backends:
            backend.close()
        raise
