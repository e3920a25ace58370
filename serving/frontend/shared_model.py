"""A model of the engine as one front end has it, and the requests that the front end has sent."""

from collections import deque
from collections.abc import Callable, Sequence

from serving.engine.job import ImageJob, Waiter
from serving.engine.model import Model
from serving.engine.remote import RemoteDecoding, RemoteSlots
from serving.errors import ServingError
from serving.frontend.slots import Memory


class SharedModel:
    """One model, for one front end.

    Args:
        number: its name between the processes.
        model: the model; it does not end before the front end has let it go.
        memory: the front end's slots for it.
        threads, slow_threads: with which the front end decodes.
        grant: tells the front end what was admitted.

    Attributes:
        freed: slots that the front end may use again; it is told with the next message. Any thread
            appends.
        decoding: what the front end has to decode.
    """

    def __init__(
        self,
        number: int,
        model: Model,
        memory: Memory,
        threads: int,
        slow_threads: int,
        grant: Callable[[Sequence[ImageJob]], None],
    ) -> None:
        self.number, self.model, self.memory = number, model, memory
        self.freed: deque[int] = deque()
        slots = RemoteSlots(memory.pixels, self.freed.append)
        self.decoding: RemoteDecoding = model.decode_elsewhere(threads, slow_threads, grant, slots)

    def close(self) -> None:
        """Drop what is still to be decoded, and let the model go. The event loop calls."""
        self.model.decode_no_more(self.decoding)
        self.memory.close()


class Asked:
    """A request whose images the front end has to decode, or whose answers it awaits.

    Attributes:
        shared: its model.
        jobs: those images that the front end has to decode, by their place.
        waiter: what waits for the answers.
        leave: ends it because its caller has left.
    """

    __slots__ = ("jobs", "leave", "shared", "waiter")

    def __init__(self, shared: SharedModel) -> None:
        self.shared = shared
        self.jobs: dict[int, ImageJob] = {}
        self.waiter: Waiter | None = None
        self.leave: Callable[[], None] = lambda: None

    def decoded(self, index: int, slot: int, started: float, ended: float) -> ImageJob | None:
        """Return an image that was decoded into a slot; None if the slot is free again."""
        job = self.jobs.pop(index, None)
        if not (job and self.shared.decoding.take_out(job)):
            return None
        self.shared.decoding.slots.fill(job, slot, started, ended)
        return job

    def end(self, index: int, error: ServingError | None) -> None:
        """End an image that was not decoded: it cannot be, or (None) it is too late."""
        if job := self.jobs.pop(index, None):
            if error:
                self.shared.decoding.fail(job, error)
            else:
                self.shared.decoding.drop([job])

    def end_all(self, error: ServingError | None) -> None:
        """End all images that were not decoded, likewise."""
        for index in tuple(self.jobs):
            self.end(index, error)
