"""Brings single versions up and down, and tells the board and the log.

Nothing but the event loop calls. What takes long is done in threads (`transitions`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bundle.kinds import Precision
from bundle.store import Bundle, BundleError
from serving.engine.model import Model
from serving.engine.repository import ModelRepository, alike
from serving.errors import InternalError, ProcessLostError, ServingError, StartupError
from serving.repository.board import Board, Status, Version
from serving.repository.folders import Folder, Found
from serving.repository.policy import Rule
from serving.repository.rollouts import Rollouts
from serving.repository.transitions import Opened, Transitions

logger = logging.getLogger(__name__)

# Of versions that do not answer, and are not about to.
RESTING = (Status.IDLE, Status.INVALID, Status.FAILED)


class Versions:
    """The versions of all names: loaded, coming, going, or only there.

    Args:
        models: gets those that answer.
        board: gets the state of each.
        transitions: where models are made and end.
        rollouts: the labels of versions.
        changed: called when a model has come or gone, or may answer no more.
        lost: called when the process has lost its devices.
    """

    def __init__(
        self,
        models: ModelRepository,
        board: Board,
        transitions: Transitions,
        rollouts: Rollouts,
        *,
        changed: Callable[[], None],
        lost: Callable[[ProcessLostError], None],
    ) -> None:
        self.models, self.board, self._transitions = models, board, transitions
        self._rollouts, self._changed, self._lost = rollouts, changed, lost
        self._given: set[Model] = set()
        self._ending: dict[tuple[str, str], tuple[Model, asyncio.Task[None]]] = {}
        self._said: dict[Path, str] = {}  # what was logged of a folder, which is not said twice

    def all(self) -> list[Model]:
        """Return the models that answer, and those that end."""
        return [*self.models.all(), *(model for model, _ in self._ending.values())]

    def endings(self, name: str = "", version: str = "") -> list[asyncio.Task[None]]:
        """Return what is over when the models that end have ended: all, of a name, or of one."""
        return [
            task
            for key, (_, task) in self._ending.items()
            if name in ("", key[0]) and version in ("", key[1])
        ]

    def loaded(self, name: str | None = None) -> list[Model]:
        """Return the models of the repository that answer, of all names or one."""
        models = [model for model in self.models.all() if model not in self._given]
        return [model for model in models if name in (None, model.name)]

    async def give(self, path: Path, precision: Precision | None = None) -> None:
        """Load a bundle that was given by itself, and stays; raise as a load does.

        With a precision, one of `also_precision`, it is a version of its own.
        """
        async with self._transitions.opened(path, precision) as opened:
            name, version = opened.bundle.manifest.name, opened.bundle.manifest.version
            if held := self.board.get(name, version):
                raise StartupError(alike(held.path, path, name, version))
            model = await opened.load()
        self._given.add(model)
        self._add(model)

    def see(self, found: Found, idle: Callable[[Rule], str], rule: Callable[[str], Rule]) -> None:
        """Have the board show what is there, and no more what was.

        Args:
            found: what the repository holds.
            idle: says why a version of which the rule is such is not loaded.
            rule: returns the rule of a name.
        """
        there = {(folder.name, folder.version): folder for folder in found.all()}
        for one in self.board.all():
            key = one.name, one.version
            if one.status in RESTING and key not in there and one.name not in found.unreadable:
                self.board.forget(*key)
                self._said.pop(one.path, None)
        for key, folder in there.items():
            if not self.board.get(*key):
                self._note(folder, Status.IDLE, idle(rule(folder.name)))

    async def settle(
        self, name: str, folders: Mapping[str, Folder], rule: Rule, idle: str, *, again: bool
    ) -> list[str]:
        """Load what a rule asks for, then unload the rest; return the versions it looked at.

        A version that cannot be loaded does not count: an older one takes its place. If none can,
        what is loaded stays. Versions that the file of labels names are loaded beside those of the
        rule, and stay as long as they have a label, or are to have one.

        Args:
            name: the name of all.
            folders: what there is, by version.
            rule: what is asked for.
            idle: why the rest is not loaded.
            again: whether to try also what has failed before and has not changed.
        """
        candidates = rule.candidates(folders)
        ready: list[str] = []
        tried: list[str] = []
        for version in candidates:
            if rule.is_met(len(ready)):
                break
            tried.append(version)
            if await self.provide(folders[version], again=again):
                ready.append(version)
        labelled = [v for v in await self._rollouts.wanted(name) if v in folders and v not in tried]
        tried += labelled
        labelled = [v for v in labelled if await self.provide(folders[v], again=again)]
        await self._rollouts.look(name)  # before others go: a label may move from one of them
        if ready or not candidates:
            async with self._rollouts.lock:
                # A label of another version that failed keeps these from having theirs yet.
                for model in self._unwanted(name, [*ready, *labelled]):
                    self.end(model, idle if model.version in folders else "its folder is gone")
            await self._rollouts.look(name)
        return tried

    def _unwanted(self, name: str, wanted: Sequence[str]) -> list[Model]:
        """Return what is loaded besides those that are wanted, and has no label."""
        others = [model for model in self.loaded(name) if model.version not in wanted]
        return [model for model in others if not self.models.labels(model)]

    async def provide(self, folder: Folder, *, again: bool) -> bool:
        """Return whether a version answers, after loading it if it does not."""
        key = folder.name, folder.version
        if key in self._ending:
            await asyncio.shield(self._ending[key][1])
        known = self.board.get(*key)
        if known and known.status is Status.READY:
            self._check_same(known, folder)
            return True
        has_failed = known and known.status in (Status.INVALID, Status.FAILED)
        if has_failed and known and known.look == folder.look and not again:
            return False
        if folder.lack:
            self._refuse(folder, Status.INVALID, folder.lack)
            return False
        return await self._load(folder)

    def end(self, model: Model, why: str) -> asyncio.Task[None]:
        """Let no more requests find a model, and end it when it has answered those that did."""
        key = model.name, model.version
        state = Version(*key, model.bundle.path, Status.UNLOADING, why)
        self.models.remove(model)
        self.board.note(state)
        logger.info("%s/%s: unloading: %s", *key, why)
        task = asyncio.create_task(self._end(state))
        self._ending[key] = model, task
        self._changed()
        return task

    def say_once(self, path: Path, what: str, key: str = "") -> None:
        """Log something of a path; not again before something else is so, or `key` is another."""
        if self._said.get(path) != (key or what):
            self._said[path] = key or what
            logger.warning("%s: %s", path, what)

    def say_again(self, path: Path) -> None:
        """Log whatever is said next of a path."""
        self._said.pop(path, None)

    async def _end(self, state: Version) -> None:
        key = state.name, state.version
        is_young = self._transitions.is_young(self._ending[key][0])
        try:
            await self._transitions.retire(self._ending[key][0])
        finally:
            del self._ending[key]
            self.board.note(state._replace(status=Status.IDLE))
        await self._transitions.tidy(whole=not is_young)
        logger.info("%s/%s: unloaded", *key)

    async def _load(self, folder: Folder) -> bool:
        is_ready = False
        try:
            async with self._transitions.opened(folder.path) as opened:
                _check_name(opened.bundle, folder)
                is_ready = await self._prove(opened, folder)
        except BundleError as error:
            self._refuse(folder, Status.INVALID, str(error))
        except StartupError as error:
            self._refuse(folder, Status.FAILED, str(error))
        if not is_ready:
            await self._transitions.tidy(whole=False)
        return is_ready

    async def _prove(self, opened: Opened, folder: Folder) -> bool:
        """Return whether a bundle that verifies is a model now that answers."""
        self._note(folder, Status.LOADING, "it is being loaded and proved")
        logger.info("%s/%s: loading", folder.name, folder.version)
        try:
            model = await opened.load()
        except ProcessLostError as error:
            self._lost(error)
            raise
        except (BundleError, ServingError) as error:
            self._refuse(folder, Status.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            self._refuse(folder, Status.FAILED, str(InternalError.logged(error)))
        else:
            self._add(model, folder)
            return True
        return False

    def _add(self, model: Model, folder: Folder | None = None) -> None:
        path, look = model.bundle.path, folder.look if folder else ()
        self.models.add(model)
        model.on_ready(self._changed)
        self.board.note(Version(model.name, model.version, path, Status.READY, "", look))
        self.board.count(model.name, "ok")
        self.say_again(path)
        others = [one for one in self.models.versions(model.name) if one != model.version]
        beside = f", beside {', '.join(others)}" if others else ""
        logger.info("%s/%s answers%s", model.name, model.version, beside)
        self._changed()

    def _check_same(self, known: Version, folder: Folder) -> None:
        """Say if the folder of a version that answers is another one now."""
        if known.path != folder.path:
            held = f"{known.path} is {known.name}/{known.version}, too"
            self.say_once(folder.path, f"it is passed over: {held}")
        elif known.look != folder.look:
            self.say_once(
                folder.path,
                "it has changed since it was loaded, and what was loaded goes on; what is new "
                "needs a version of its own",
            )

    def _refuse(self, folder: Folder, status: Status, reason: str) -> None:
        self._note(folder, status, reason)
        if status is Status.FAILED:
            self.board.count(folder.name, "failed")
        kind = "it cannot be served" if status is Status.FAILED else "it is passed over"
        self.say_once(folder.path, f"{kind}: {reason}", key=status)

    def _note(self, folder: Folder, status: Status, reason: str) -> None:
        name, version, path, look, _ = folder
        self.board.note(Version(name, version, path, status, reason, look))


def _check_name(bundle: Bundle, folder: Folder) -> None:
    stated = f"{bundle.manifest.name}/{bundle.manifest.version}"
    if stated != f"{folder.name}/{folder.version}":
        raise BundleError(
            f"its manifest says that it is {stated}: its folder must be called so, too"
        )
