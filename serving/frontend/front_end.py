"""One front end process, from the engine's side: its start, its models, its end."""

import asyncio
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

from serving.child import ending
from serving.config import ServingConfig
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import StartupError
from serving.frontend.counts import Sum
from serving.frontend.desk import Desk, Told
from serving.frontend.exchange import Exchange
from serving.frontend.forwarding import Answering
from serving.frontend.link import BrokenLinkError, Link
from serving.frontend.messages import tell
from serving.frontend.models import NewModel, tell_models
from serving.frontend.process import count_threads
from serving.frontend.shared_model import SharedModel
from serving.frontend.slots import Memory
from serving.rpc.methods import ServicerMethod

logger = logging.getLogger(__name__)

Reason = Literal["died", "hung"]

# Time from its start until a front end takes calls, on a machine that is busy.
START_S = 60.0
# How often a front end is looked at, in seconds.
LOOK_S = 0.25
# Where this process has found its modules, in that order.
PATHS = [str(Path(__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(":")]
_numbers = itertools.count(1)


class FrontEnd:
    """A front end. The event loop calls, but where it says otherwise.

    Args:
        config: the server's.
        settings: the same in JSON, with the port that all share.
        exchange: reads the links of all.
        methods: what is answered for it.
        counts: adds what it counts.

    Attributes:
        desk: answers it.
        is_started: whether it takes calls.

    Raises:
        StartupError: this machine lacks the memory, processes or descriptors for it.
    """

    def __init__(
        self,
        config: ServingConfig,
        settings: Mapping[str, Any],
        exchange: Exchange,
        methods: Mapping[str, ServicerMethod],
        counts: Sum,
    ) -> None:
        self._config, self._exchange, self._counts = config, exchange, counts
        self._loop = asyncio.get_running_loop()
        self._process, self._pidfd, link = _begin(settings)
        self.desk = Desk(exchange, link, self._hears())
        self._answering = Answering(methods, self.desk.send)
        self._exited = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._exit)
        self._starting: asyncio.Future[str] = self._loop.create_future()
        self.is_started = self._is_closed = False
        self._unconfirmed: deque[asyncio.Future[None]] = deque()  # what it was told of models
        self._heard, self._decoding_s, self._why = self._loop.time(), 0.0, ""
        exchange.add(self.desk)

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    async def started(self) -> None:
        """Return when it takes calls; raise `StartupError` if it cannot."""
        done, _ = await asyncio.wait(
            (self._starting, self._exited), timeout=START_S, return_when=asyncio.FIRST_COMPLETED
        )
        if self._starting in done:
            if why := self._starting.result():
                raise StartupError(why)
        elif done:
            raise StartupError(f"a front end {self.epitaph('died')} before it took calls")
        else:
            raise StartupError(f"a front end has not started within {START_S:g} s")

    async def ended(self) -> None:
        """Return when its process has ended."""
        await asyncio.wait((self._exited,))

    async def watched(self) -> Reason:
        """Return when it has ended, or hangs and must be."""
        limit_s = self._config.overdue_s
        looked = self._loop.time()
        while not self._exited.done():
            # While this process was held up, or stopped, it could hear nobody.
            self._heard += max(0.0, self._loop.time() - looked - LOOK_S)
            looked = self._loop.time()
            silent_s = self._loop.time() - self._heard
            most_s = limit_s if self.is_started else START_S
            if silent_s > most_s or self._decoding_s > limit_s:
                logger.error(
                    "front end process %d hangs: it has been silent for %.1f s, and one of its "
                    "decodes takes %.1f s already (--overdue-s %g); it is killed",
                    self.pid,
                    silent_s,
                    self._decoding_s,
                    limit_s,
                )
                return "hung"
            await asyncio.wait((self._exited,), timeout=LOOK_S)
        return "died"

    async def end(self) -> None:
        """Kill it, unless it has ended, and let go of all that it held."""
        self.is_started = False
        if not self._exited.done():
            self._process.kill()
            await self.ended()
        self._exchange.remove(self.desk, BrokenLinkError("the front end has ended"))

    def epitaph(self, reason: Reason) -> str:
        """Say how it ended, for the log."""
        if reason == "hung":
            return "hung and was killed"
        return f"{ending(self._process.returncode)}{self._why and ': '}{self._why}"

    def send(self, message: bytes) -> None:
        """Send it a message, unless it has ended."""
        if not self._is_closed:
            self.desk.send(message)

    def tell_models(self, repository: ModelRepository) -> None:
        """Tell it which models are loaded."""
        if self._is_closed:
            return
        numbers: dict[Model, int] = {
            shared.model: number for number, shared in self.desk.models.items()
        }
        new: list[NewModel] = []
        descriptors: list[int] = []
        try:
            for model in repository.all():
                if model not in numbers:
                    numbers[model] = number = next(_numbers) & 0xFFFF
                    shared = self._shared(number, model)
                    self.desk.models = {**self.desk.models, number: shared}
                    descriptors.append(shared.memory.descriptor)
                    new.append(NewModel.of(number, model, self._config.max_inflight_images))
            self._unconfirmed.append(self._loop.create_future())
            message = tell_models(new, repository.shelves(), numbers)
            if not self.desk.link.send(message, descriptors):
                self._exchange.nudge()
        except BrokenLinkError:  # it has ended, which is seen elsewhere
            logger.debug("a front end was not told of the models", exc_info=True)
        except OSError as error:  # others may have what it lacks, and a new one later
            logger.critical(
                "front end process %d gets no memory for pixels: %s", self.pid, error.strerror
            )
            self._process.kill()

    async def caught_up(self) -> None:
        """Return when it knows the models that it was told of, or takes no calls."""
        if self.is_started and self._unconfirmed:
            latest = self._unconfirmed[-1], self._exited
            await asyncio.wait(latest, return_when=asyncio.FIRST_COMPLETED)

    def _shared(self, number: int, model: Model) -> SharedModel:
        crop = model.bundle.manifest.transform.crop
        memory = Memory(self._config.max_inflight_images, crop.height, crop.width)
        threads = count_threads(self._config)
        return SharedModel(number, model, memory, *threads, partial(self.desk.grant, number))

    def _hears(self) -> Told:
        """Return what gets the messages of the front end, on the exchange's thread."""
        soon = self._loop.call_soon_threadsafe
        return Told(
            tell=lambda body: _quietly(soon, self._told, json.loads(body)),
            call=lambda body: self._answering.call(body),
            cancel=lambda number: self._answering.cancel(number),
            closed=lambda error: _quietly(soon, self._closed, error),
        )

    def _told(self, said: dict[str, Any]) -> None:
        self._heard = self._loop.time()
        match said["op"]:
            case "started":
                self.is_started = True
                self._begin("")
            case "failed":
                self._why = said["why"]
                self._begin(self._why)
            case "knows":
                self._unconfirmed.popleft().set_result(None)
            case "alive":
                self._decoding_s = said["decoding_s"]
                self._counts.add(said["totals"])
                for number in said["unused"]:
                    self._forget(number)
            case "exemplar":
                if shared := self.desk.models.get(said["model"]):
                    shared.model.exemplify(said["image_s"], said["trace_id"])

    def _begin(self, why: str) -> None:
        if not self._starting.done():
            self._starting.set_result(why)

    def _forget(self, number: int) -> None:
        """Have a model forgotten that no caller of the front end uses, unless one of HTTP does."""
        shared = self.desk.models.get(number)
        if shared and not shared.model.is_used:
            self._let_go(number)
            self.send(tell(op="forget", model=number))

    def _let_go(self, number: int) -> None:
        left = dict(self.desk.models)
        if shared := left.pop(number, None):
            self.desk.models = left
            shared.close()

    def _closed(self, error: Exception) -> None:
        """Let go of all: nothing of it comes any more."""
        self._is_closed, self.is_started = True, False
        self._answering.close()
        for number in tuple(self.desk.models):
            self._let_go(number)
        if not self._exited.done():
            logger.debug("the link to front end process %d has ended: %s", self.pid, error)
            self._process.kill()  # it may live on, and say what nobody understands

    def _exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self._exited.set_result(None)


def _begin(settings: Mapping[str, Any]) -> tuple[subprocess.Popen[bytes], int, Link]:
    """Start a process, and tell it the settings; return it, a descriptor of it, and the link."""
    first = json.dumps(settings).encode()
    with ExitStack() as undo:
        try:
            ours, theirs = socket.socketpair()
            link = Link(ours)
            undo.callback(link.close)
            with theirs:
                process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
                    [sys.executable, "-m", "serving.frontend", str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)},
                    process_group=0,  # what a terminal sends is for the engine, which drains
                )
                undo.callback(process.wait)
                undo.callback(process.kill)
                link.send(len(first).to_bytes(4) + first)
            pidfd = os.pidfd_open(process.pid)
        except OSError as error:
            raise StartupError(f"a front end cannot be started: {error.strerror}") from error
        undo.pop_all()
    return process, pidfd, link


def _quietly(soon: Any, *call: Any) -> None:
    try:
        soon(*call)
    except RuntimeError:  # the loop is closed: the server has ended
        logger.debug("a front end speaks after the end")
