"""Which models are loaded: those of `--model`, and of the repository those that are asked for.

Everything happens on the event loop, one change after another. A version that is to take the place
of another is loaded first, and the other one goes only when it answers.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from serving.config import ServingConfig
from serving.engine.model import Model
from serving.engine.repository import ModelRepository, alike
from serving.errors import (
    ModelNotFoundError,
    ProcessLostError,
    RepositoryError,
    StartupError,
)
from serving.metrics import Metrics
from serving.repository.board import Board, Status
from serving.repository.changes import Changes
from serving.repository.checks import check_explicit, check_named, holds
from serving.repository.folders import Found, likely, scan
from serving.repository.policy import Rule
from serving.repository.rollouts import Rollouts
from serving.repository.transitions import Transitions
from serving.repository.versions import Versions

logger = logging.getLogger(__name__)


class Control:
    """Loads and unloads models: at the start, by what the repository holds, and on calls.

    Args:
        config: the models, the repository, and how they run.
        models: gets the models that answer.
        metrics: those of the server.
        changed: called when a model has come or gone, or may answer no more.
        lost: called when the process has lost its devices.

    Attributes:
        board: the state of each version.
        rollouts: their labels.
        transitions: where models are made and end.
    """

    def __init__(
        self,
        config: ServingConfig,
        models: ModelRepository,
        metrics: Metrics,
        *,
        changed: Callable[[], None],
        lost: Callable[[ProcessLostError], None],
    ) -> None:
        self._config, self._policy = config, config.policy
        self.board = Board(metrics.registry)
        self.transitions = Transitions(config, metrics, models.is_idle)
        self.rollouts = Rollouts(
            config.repository,
            models,
            config.image_limits,
            metrics,
            has_files=not config.frontends,
        )
        self._versions = Versions(
            models, self.board, self.transitions, self.rollouts, changed=changed, lost=lost
        )
        self._changes = Changes()

    @property
    def is_busy(self) -> bool:
        """Whether a thread works on something, which nothing can interrupt."""
        return self.transitions.is_busy or self.rollouts.is_busy

    @property
    def takes_calls(self) -> bool:
        """Whether calls may load and unload."""
        return bool(self._config.repository) and self._config.model_control == "explicit"

    def models(self) -> list[Model]:
        """Return the models that answer, and those that end."""
        return self._versions.all()

    async def start(self) -> None:
        """Load what should be loaded at the start.

        Raises:
            BundleError, StartupError: a bundle of `--model` cannot be loaded, the repository cannot
                be read, the settings or a file of labels name what it does not hold, or there is
                nothing to serve.
        """
        for path in self._config.model:
            await self._versions.give(path)
            for precision in self._config.also_precision:
                await self._versions.give(path, precision)
        if not (root := self._config.repository):
            return
        try:
            found = await self._look(root)
        except OSError as error:
            raise StartupError(f"--repository {root} cannot be read: {error.strerror}") from error
        self._check_start(root, found)
        is_explicit = self._config.model_control == "explicit"
        asked = self._config.load_model if is_explicit else ("*",)
        for name in found.folders:
            if "*" in asked or name in asked:
                await self._settle(name, found, again=False)
        self.rollouts.is_starting = False
        if not self.models() and self._config.model_control == "none":
            raise StartupError(f"--repository {root} holds nothing that can be served{self._why()}")

    async def rescan(self, *, again: bool = False) -> None:
        """Look at the repository, and load and unload what its policy asks for.

        What is wrong is logged, once, and told by the board. `again`: try also what has failed
        before and has not changed.
        """
        await self._changes.make(partial(self._rescan, again=again))

    async def relabel(self) -> None:
        """Hold to the files of labels of all models that are loaded, and change nothing else."""
        for name in sorted({model.name for model in self._versions.models.all()}):
            await self.rollouts.look(name)

    async def load(self, name: str, version: str = "") -> None:
        """Load the versions of a name that the policy asks for, or only one beside the loaded ones.

        It is done also if the caller leaves.

        Raises:
            RepositoryError: calls may not load, or a version cannot be loaded, as it says.
            ModelNotFoundError: the repository holds no such name or version.
        """
        await self._changes.make(partial(self._load, name, version))
        await self._versions.models.known_everywhere()

    async def unload(self, name: str, version: str = "") -> None:
        """Unload all versions of a name, or only one; return when their memory is free.

        Raises:
            RepositoryError: calls may not unload, or a label stands for the version.
            ModelNotFoundError: there is no such name or version.
        """
        endings = await self._changes.make(partial(self._unload, name, version))
        await asyncio.shield(asyncio.gather(*endings))

    def stop(self) -> None:
        """Give up the change that is being made; a thread that loads is left to itself."""
        self._changes.cancel()

    async def close(self) -> None:
        """End all models."""
        self.stop()
        await self.rollouts.close()
        endings = self._versions.endings()
        for error in await asyncio.gather(*endings, return_exceptions=True):
            if error:
                logger.error("a model did not end as it should", exc_info=error)
        for model in self.models():
            await asyncio.to_thread(model.close)

    async def _look(self, root: Path) -> Found:
        """Return what the repository holds; raise `OSError`."""
        return await self.transitions.do(partial(scan, root))

    async def _settle(self, name: str, found: Found, *, again: bool) -> list[str]:
        rule, folders = self._policy.rule(name), found.folders.get(name, {})
        return await self._versions.settle(name, folders, rule, self._idle(rule), again=again)

    def _see(self, found: Found) -> None:
        for path in found.unnamed:
            self._versions.say_once(path, "it is passed over: its name cannot be shown")
        self._versions.see(found, self._idle, self._policy.rule)

    def _check_start(self, root: Path, found: Found) -> None:
        """Raise `StartupError` if the repository is not what the settings say."""
        for folder in found.all():
            if held := self.board.get(folder.name, folder.version):
                raise StartupError(alike(held.path, folder.path, folder.name, folder.version))
        self._see(found)
        check_named(self._config, root, found)

    def _why(self) -> str:
        """Return what is wrong with each version, for the error of a start with nothing."""
        reasons = [f"\n  {one.name}/{one.version}: {one.reason}" for one in self.board.all()]
        return ":" + "".join(reasons) if reasons else ": bundles are in <name>/<version>/"

    async def _rescan(self, *, again: bool) -> None:
        root = self._config.repository
        assert root
        try:
            found = await self._look(root)
        except OSError as error:
            why = f"it cannot be read, and all stays as it is: {error.strerror}"
            self._versions.say_once(root, why)
            return
        loaded = self._versions.loaded()
        if found.is_empty and loaded:  # a volume that is not mounted looks like that
            self._versions.say_once(root, "it is empty, and all stays as it is")
            return
        self._versions.say_again(root)
        self._see(found)
        for name, reason in found.unreadable.items():
            self._versions.say_once(root / name, f"{reason}; what is loaded of it stays")
        names = {*found.folders, *(model.name for model in loaded)} - found.unreadable.keys()
        for name in sorted(names):
            await self._settle(name, found, again=again)

    async def _load(self, name: str, version: str) -> None:
        root = check_explicit(self._config)
        try:
            found = await self._look(root)
        except OSError as error:
            raise RepositoryError(f"the repository cannot be read: {error.strerror}") from error
        self._see(found)
        if name in found.unreadable:
            raise RepositoryError(found.unreadable[name])
        if not (folders := found.folders.get(name)):
            raise ModelNotFoundError(f"the repository has no {name!r}; it {holds(found.names)}")
        wanted = (version,) if version else self._policy.rule(name).named
        if lost := [v for v in wanted if v not in folders]:
            raise ModelNotFoundError(
                f"{name!r} has no version {lost[0]!r}; it {holds(likely(folders))}"
            )
        tried = [version]
        if version:
            await self._versions.provide(folders[version], again=True)
            await self.rollouts.look(name)
        else:
            tried = await self._settle(name, found, again=True)
        states = [self.board.get(name, one) for one in tried]
        failed = [one for one in states if one and one.status is not Status.READY]
        if failed:
            told = [f"{name}/{one.version} is not loaded: {one.reason}" for one in failed]
            raise RepositoryError("; ".join([*told, self._answering(name)]))

    def _answering(self, name: str) -> str:
        """Return which versions answer, whatever became of the others."""
        ready = [v.version for v in self.board.all() if (v.name, v.status) == (name, Status.READY)]
        verb = "answer" if len(ready) > 1 else "answers"
        return f"{', '.join(f'{name}/{version}' for version in ready) or 'no version'} {verb}"

    async def _unload(self, name: str, version: str) -> list[asyncio.Task[None]]:
        check_explicit(self._config)
        known = [v for v in self.board.all() if v.name == name and version in ("", v.version)]
        if not known:
            what = f"{name}/{version}" if version else name
            raise ModelNotFoundError(f"there is no {what!r} to unload")
        named = {one.version for one in known}
        models = [model for model in self._versions.loaded(name) if model.version in named]
        if not models and any(one.status is Status.READY for one in known):
            raise RepositoryError(f"{name!r} was given by --model, and stays")
        async with self.rollouts.lock:
            self._check_labels(models, version)
            for model in models:
                self._versions.end(model, "it was unloaded by a call")
        await self.rollouts.look(name)
        return self._versions.endings(name, version)

    def _check_labels(self, models: Sequence[Model], version: str) -> None:
        """Raise `RepositoryError` if a label stands for the only version that is to go.

        All versions may go whatever their labels are: those hold again once they are loaded.
        """
        for model in models:
            if version and (labels := self._versions.models.labels(model)):
                raise RepositoryError(
                    f"{model.name}/{version} is labelled {', '.join(labels)}: move or remove that "
                    f"first (python -m clients models label)"
                )

    def _idle(self, rule: Rule) -> str:
        """Return why a version that nothing is wrong with is not loaded."""
        if self._config.model_control == "explicit":
            return "nobody has asked for it (--model-control explicit)"
        return f"the version policy is {rule}"
