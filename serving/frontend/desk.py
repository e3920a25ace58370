"""The engine's end of the link to one front end: requests in, answers out."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from serving.engine.job import Answer, ImageJob
from serving.engine.model import NOT_DECODED, Model
from serving.engine.remote import RemoteImage
from serving.engine.sources import DECODED, Size
from serving.errors import InternalError, ServingError, UnavailableError
from serving.frontend import messages
from serving.frontend.exchange import Exchange
from serving.frontend.lending import Lending
from serving.frontend.link import BrokenLinkError, Link, frame
from serving.frontend.messages import CALL, KINDS, LEARN, MODEL, PLACE, READY_IMAGE, Ask, Kind
from serving.frontend.shared_model import Asked, SharedModel


class RemoteCaller(Asked):
    """A request of a front end, which keeps time: its caller, as the engine sees it.

    Args:
        desk: of the front end.
        shared: the model.
        ask: what the caller asks for.
    """

    __slots__ = ("_call", "_desk", "deadline", "name")
    keeps_time = True

    def __init__(self, desk: "Desk", shared: SharedModel, ask: Ask) -> None:
        super().__init__(shared)
        self._desk, self._call = desk, ask.call
        self.deadline, self.name = ask.deadline, ask.caller

    def post(self, work: Callable[[], None]) -> bool:
        """Have `work` done on the exchange's thread; any thread may call."""
        self._desk.exchange.post(work)
        return True

    def answer(self, answers: list[Answer]) -> None:
        """Tell the front end; any thread may call."""
        self._desk.answer(self._call, answers)

    def refuse(self, error: ServingError) -> None:
        """Raise `error`: the engine's own decision is raised where it is made."""
        raise error

    def on_leave(self, leave: Callable[[], None]) -> None:
        """Have `leave` called when the front end says that the caller has left."""
        self.leave = leave


class Told(NamedTuple):
    """What the desk passes on; called on the exchange's thread.

    Attributes:
        tell: gets what a front end says in JSON.
        call: gets the body of a call that is to be answered here.
        cancel: gets the number of one whose caller has left.
        closed: called at the end, with its cause.
    """

    tell: Callable[[bytes], None]
    call: Callable[[memoryview], None]
    cancel: Callable[[int], None]
    closed: Callable[[Exception], None]


class Desk:
    """Answers one front end. All methods are the exchange's, but those that say otherwise.

    Args:
        exchange: reads the link.
        link: to the front end.
        told: gets what is not about images.

    Attributes:
        models: the models that the front end knows, by number; replaced as a whole.
        lending: sends it images of callers of this process.
    """

    def __init__(self, exchange: Exchange, link: Link, told: Told) -> None:
        self.exchange, self.link, self._told = exchange, link, told
        self.models: dict[int, SharedModel] = {}
        self._asked: dict[int, Asked] = {}
        self._out: deque[bytes] = deque()
        self.lending = Lending(exchange, link, self._asked, self.send)
        self._take: dict[int, Callable[[memoryview], None]] = {
            Kind.ASK: self._ask,
            Kind.READY: self._ready,
            Kind.FAILED: self._failed,
            Kind.DROPPED: self._dropped,
            Kind.SLOW: self._slow,
            Kind.LEAVE: self._leave,
            Kind.EXPIRE: self._expire,
            Kind.LEARN: self._learn,
            Kind.CALL: told.call,
            Kind.CANCEL: lambda body: told.cancel(CALL.unpack(body)[0]),
            Kind.TELL: lambda body: told.tell(bytes(body)),
        }

    @property
    def waiting(self) -> int:  # any thread
        """How many images it has to decode."""
        pools = (pool for one in self.models.values() for pool in one.decoding.pools)
        return self.lending.shown + sum(len(pool.queue) for pool in pools)

    def shared(self, model: Model) -> SharedModel | None:  # any thread
        """Return a model as the front end has it; None if it has not."""
        return next((one for one in self.models.values() if one.model is model), None)

    def take(self, kind: int, body: memoryview) -> None:
        """Take a message."""
        if kind not in self._take:
            raise BrokenLinkError(f"a front end sends a message of kind {kind}")
        self._take[kind](body)

    def settle(self) -> None:
        """Send the answers, the slots that nobody reads any more, and what is to be decoded."""
        for shared in self.models.values():
            if freed := shared.freed:
                slots = [freed.popleft() for _ in range(len(freed))]
                self._out.append(messages.free(shared.number, slots))
        if out := self._out:
            self.link.send(b"".join([out.popleft() for _ in range(len(out))]))
        self.lending.pass_on()

    def closed(self, error: Exception) -> None:
        """End all requests; callers of the front end have lost their connection."""
        self.lending.is_closed = True
        for call in tuple(self._asked):
            if asked := self._asked.pop(call, None):
                asked.leave()
                asked.end_all(UnavailableError(NOT_DECODED))
        self._told.closed(error)

    def send(self, message: bytes) -> None:  # any thread
        """Send a message soon."""
        self._out.append(message)
        self.exchange.nudge()

    def answer(self, call: int, answers: list[Answer]) -> None:  # any thread
        """Answer a request."""
        if self._asked.pop(call, None):
            self.send(messages.answer(call, answers))

    def grant(self, number: int, jobs: Sequence[ImageJob]) -> None:  # as the two that it calls
        """Have images of a model decoded, all of one request."""
        if isinstance(jobs[0].source, RemoteImage):
            self._grant(jobs)
        else:
            self.lending.lend(self.models[number], jobs)

    def _grant(self, jobs: Sequence[ImageJob]) -> None:
        """Have images decoded that the front end has."""
        call, granted = 0, []
        for job in jobs:
            image = job.source
            assert isinstance(image, RemoteImage)
            call = image.call
            self._asked[call].jobs[image.index] = job
            granted.append(messages.GRANTED.pack(image.index, job.lease.is_slow))
        self._out.append(frame(Kind.GRANT, CALL.pack(call), *granted))

    def _ask(self, body: memoryview) -> None:
        ask = Ask.read(body)
        shared = self.models.get(ask.model)
        if not shared:  # and its slots are gone
            self._out.append(messages.refusal(ask.call, UnavailableError(messages.GONE)))
            return
        images = [
            RemoteImage(
                Size(KINDS[kind] if slot < 0 else DECODED, pixels, nbytes),
                ask.call,
                index,
                slot,
                started,
                decoded,
            )
            for index, (kind, slot, pixels, nbytes, started, decoded) in enumerate(
                messages.IMAGE.iter_unpack(ask.images)
            )
        ]
        self._asked[ask.call] = asked = RemoteCaller(self, shared, ask)
        try:
            asked.waiter = shared.model.submit(
                images, asked, ask.nbytes, shared.decoding.pools, ask.arrived
            )
        except Exception as error:  # noqa: BLE001 - it is one caller's, and not the front end's
            del self._asked[ask.call]
            told = error if isinstance(error, ServingError) else InternalError.logged(error)
            self._out.append(messages.refusal(ask.call, told))
        shared.freed.extend([image.slot for image in images if image.slot >= 0])

    def _ready(self, body: memoryview) -> None:
        shared = self.models.get(MODEL.unpack_from(body)[0])
        if not shared:
            return
        decoding, jobs = shared.decoding, []
        for call, index, slot, started, decoded, worked_s in READY_IMAGE.iter_unpack(
            body[MODEL.size :]
        ):
            asked = self._asked.get(call)
            if not (job := asked.decoded(index, slot, started, decoded) if asked else None):
                shared.freed.append(slot)
                continue
            seconds = worked_s if job.lease.is_slow else decoded - started
            decoding.latency.observe(job.lease.size, seconds, worked_s, decoded)
            jobs.append(job)
        if jobs:
            decoding.ready(jobs)

    def _failed(self, body: memoryview) -> None:
        self._end(body, messages.read_error(body, PLACE.size)[0])

    def _dropped(self, body: memoryview) -> None:
        self._end(body, None)

    def _end(self, body: memoryview, error: ServingError | None) -> None:
        call, index = PLACE.unpack_from(body)
        if asked := self._asked.get(call):
            asked.end(index, error)

    def _slow(self, body: memoryview) -> None:
        call, index = PLACE.unpack_from(body)
        asked = self._asked.get(call)
        if asked and (job := asked.jobs.get(index)):
            asked.shared.decoding.slow_down(job)

    def _leave(self, body: memoryview) -> None:
        if asked := self._asked.pop(CALL.unpack(body)[0], None):
            asked.leave()
            asked.end_all(None)

    def _expire(self, body: memoryview) -> None:
        asked = self._asked.get(CALL.unpack(body)[0])
        if asked and asked.waiter:
            asked.shared.model.expire(asked.waiter)
            asked.end_all(None)

    def _learn(self, body: memoryview) -> None:
        number, kind, pixels, nbytes, worked_s = LEARN.unpack(body)
        if shared := self.models.get(number):
            size = Size(KINDS[kind], pixels, nbytes)
            shared.decoding.latency.observe_failure(size, worked_s)
