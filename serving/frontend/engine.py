"""The front end's end of the link to the engine process."""

import asyncio
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from serving.engine.job import Answer, Caller
from serving.engine.repository import ModelRepository, Shelf
from serving.errors import ServingError, UnavailableError
from serving.frontend import messages
from serving.frontend.exchange import Exchange
from serving.frontend.forwarding import Forwarding
from serving.frontend.link import BrokenLinkError, Link, frame
from serving.frontend.messages import CALL, FIRST_ENGINE_CALL, GRANTED, PLACE, Decode, Kind
from serving.frontend.models import NewModel, ShelfTold
from serving.frontend.remote_model import RemoteModel, Request
from serving.frontend.slots import Slots

logger = logging.getLogger(__name__)

# A caller, and what answers it.
Ended = tuple[Caller, Callable[[], None]]


class EngineLink:
    """Passes messages between the engine and the models of a front end.

    Args:
        link: to the engine.
        exchange: reads it.
        create: returns a model that the engine has told of, given the descriptor of its slots.
        told: gets what else the engine says, on the event loop.
        closed: called when the engine has gone.

    Attributes:
        clock: monotonic time, in seconds.
        repository: the models that the engine has loaded.
        knows_models: set once the engine has told which models are loaded.
        forwarding: has calls answered there.
    """

    clock = staticmethod(time.monotonic)

    def __init__(
        self,
        link: Link,
        exchange: Exchange,
        create: Callable[["EngineLink", NewModel, Slots], RemoteModel],
        told: Callable[[dict[str, Any]], None],
        closed: Callable[[Exception], None],
    ) -> None:
        self.link, self._exchange = link, exchange
        self._create, self._told, self._closed = create, told, closed
        self._loop = asyncio.get_running_loop()
        self.repository: ModelRepository[RemoteModel] = ModelRepository()
        self.knows_models = asyncio.Event()
        self.forwarding = Forwarding(self.send)
        # Guards which models there are, and which of them are loaded.
        self._lock = threading.Lock()
        self._models: dict[int, RemoteModel] = {}
        self._requests: dict[int, Request] = {}
        self._ended: list[Ended] = []  # in this round
        self._numbers = itertools.count()
        self._take: dict[int, Callable[[memoryview], None]] = {
            Kind.ANSWER: self._answer,
            Kind.FREE: self._free,
            Kind.GRANT: self._grant,
            Kind.REFUSE: self._refuse,
            Kind.RETURN: self.forwarding.returned,
            Kind.DECODE: self._decode,
            Kind.OVER: self._over,
            Kind.TELL: self._tell,
        }

    @property
    def models(self) -> list[RemoteModel]:
        """All models that were not let go yet."""
        return [*self._models.values()]

    def send(self, message: bytes) -> None:  # any thread
        """Send a message; if the engine has gone, this process is about to end."""
        try:
            if not self.link.send(message):
                self._exchange.nudge()
        except BrokenLinkError as error:
            self._closed(error)

    def ask(self, request: Request) -> None:  # any thread
        """Expect the answers to a request, which gets its number."""
        request.call = next(self._numbers) % FIRST_ENGINE_CALL
        self._expect(request)

    def give_up(self, request: Request) -> bool:  # any thread
        """Expect them no more; return False if they are there."""
        return self._popped(request.call) is not None

    def call_later(self, delay_s: float, work: Callable[[], object]) -> None:  # any thread
        """Have `work` done on the event loop after `delay_s` seconds."""
        self._loop.call_soon_threadsafe(self._loop.call_later, delay_s, work)

    def unused(self) -> list[int]:  # any thread
        """Return the numbers of models that are loaded no more, and used by no caller from here.

        The engine says when they go: it may have callers of its own, whose images are decoded here.
        """
        with self._lock:
            loaded = {id(model) for model in self.repository.all()}
            models = self._models.values()
            return [m.number for m in models if id(m) not in loaded and not m.is_used]

    def take(self, kind: int, body: memoryview) -> None:  # the exchange's thread, as all below
        """Take a message."""
        self._take[kind](body)

    def settle(self) -> None:
        """Pass on what has come in this round, on the thread that answers one of the callers.

        If this thread answered, calls would come faster than gRPC's thread sees the others end, and
        a connection would hold more of them than it may.
        """
        ended, self._ended = self._ended, []
        for caller, _ in ended:
            if caller.post(partial(_pass_on, ended)):
                return

    def closed(self, error: Exception) -> None:
        """Note that the engine has gone."""
        self._closed(error)

    def _answer(self, body: memoryview) -> None:
        if request := self._popped(CALL.unpack_from(body)[0]):
            caller, answers = request.end(), [*messages.read_answers(body)]
            self._ended.append((caller, partial(caller.answer, answers)))

    def _free(self, body: memoryview) -> None:
        number, slots = messages.read_free(body)
        if model := self._models.get(number):
            model.slots.give_back(*slots)

    def _grant(self, body: memoryview) -> None:
        if request := self._requests.get(CALL.unpack_from(body)[0]):
            request.model.granted(request, [*GRANTED.iter_unpack(body[CALL.size :])])

    def _refuse(self, body: memoryview) -> None:
        if request := self._popped(CALL.unpack_from(body)[0]):
            caller, (error, _) = request.end(), messages.read_error(body, CALL.size)
            self._ended.append((caller, partial(caller.refuse, error)))

    def _decode(self, body: memoryview) -> None:
        lent = Decode.read(body)
        if not (model := self._models.get(lent.model)):  # its caller has left
            told = messages.error_bytes(UnavailableError(messages.GONE))
            self.send(frame(Kind.FAILED, PLACE.pack(lent.call, 0), told))
            return
        request = Request(model, [lent.source], lent.arrived, EnginesOwn(lent.deadline))
        request.call = lent.call
        self._expect(request)
        model.granted(request, [(0, lent.is_slow)])

    def _over(self, body: memoryview) -> None:
        for call in messages.read_over(body):
            if request := self._popped(call):
                request.leave()

    def _expect(self, request: Request) -> None:
        request.model.in_flight += 1
        self._requests[request.call] = request

    def _popped(self, call: int) -> Request | None:
        if request := self._requests.pop(call, None):
            request.model.in_flight -= 1
        return request

    def _tell(self, body: memoryview) -> None:
        said = json.loads(bytes(body))
        # Models here, not on the event loop: messages that come next are about them.
        match said["op"]:
            case "models":
                self._learn(said)
            case "forget":
                self._forget(said["model"])
            case _:
                self._loop.call_soon_threadsafe(self._told, said)

    def _learn(self, said: dict[str, Any]) -> None:
        """Have those models loaded that the engine has."""
        with self._lock:
            for new in (NewModel(*each) for each in said["new"]):
                crop = new.bundle().manifest.transform.crop
                slots = Slots(self.link.fds.popleft(), new.slots, crop.height, crop.width)
                self._models[new.number] = model = self._create(self, new, slots)
                model.start()
            shelves: dict[str, Shelf[RemoteModel]] = {}
            for told in (ShelfTold(*each) for each in said["shelves"]):
                models = {self._models[n].version: self._models[n] for n in told.versions}
                shelf = Shelf(models, told.rollout())
                shelves[shelf.name] = shelf
            self.repository.restock(shelves)
        self.send(messages.tell(op="knows"))
        self._loop.call_soon_threadsafe(self.knows_models.set)

    def _forget(self, number: int) -> None:
        """Let a model go that was unused: nobody has found it since, as it is loaded no more."""
        with self._lock:
            model = self._models.pop(number)
        # A thread may be decoding an image whose caller has left.
        threading.Thread(target=model.close, name="unload", daemon=True).start()


class EnginesOwn:
    """A caller of the engine process: here it has a deadline, and nobody is to be answered."""

    keeps_time, name = True, ""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def post(self, work: Callable[[], None]) -> bool:  # noqa: ARG002 - as if it had left
        """Do nothing."""
        return False

    def answer(self, answers: list[Answer]) -> None:
        """Do nothing: the engine has the answers."""

    def refuse(self, error: ServingError) -> None:
        """Do nothing, likewise."""

    def on_leave(self, leave: Callable[[], None]) -> None:
        """Do nothing: the engine says when its request is over."""


def _pass_on(ended: Sequence[Ended]) -> None:
    for _, answer in ended:
        try:
            answer()
        except Exception:
            # It may be one of many that were answered together.
            logger.exception("a caller could not be answered")
