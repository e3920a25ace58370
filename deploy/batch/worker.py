"""Classifies shards: reads, keeps the engine busy, writes the rows. Several threads do at once."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from deploy.batch.engine import Engine
from deploy.batch.errors import StoppedError
from deploy.batch.item import Content, Source, Trouble
from deploy.batch.rows import Format
from deploy.batch.target import Target
from serving.engine.job import Answer

# What goes through the engine as one request: an answer wakes the thread that waits once for all of
# them. Large photos make smaller chunks, so that those in flight have a bound in bytes as well.
CHUNK_IMAGES, CHUNK_BYTES = 32, 8 * 2**20


class Chunk(NamedTuple):
    """Consecutive images of a shard, and the answers to those that could be read."""

    contents: list[Trouble | None]
    answers: "Future[list[Answer]]"


class Worker:
    """Classifies the shards of one run with one engine; any thread may call.

    Args:
        engine: answers.
        source: reads.
        target: has the plan and gets the rows.
        form: of the rows.
        readers: how many threads call `run` at once.
        tell: called with a number of images each time that so many have been answered.
    """

    def __init__(
        self,
        engine: Engine,
        source: Source,
        target: Target,
        form: Format,
        readers: int,
        tell: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._engine, self._source, self._target = engine, source, target
        self._plan, self._format, self._tell = target.plan, form, tell
        self._most_chunks = max(2, -(-engine.useful_images // (readers * CHUNK_IMAGES)))
        self.is_stopped = False

    def attempt(self, shard: int) -> int:
        """Do as `run` does, but not again and again if that kills the process."""
        with self._target.attempt(shard):
            return self.run(shard)

    def run(self, shard: int) -> int:
        """Write the rows of a shard; return how many images it has.

        Raises:
            DatasetError: the target cannot be written, or the devices are lost.
            StoppedError: `is_stopped` was set.
        """
        items = self._plan.read(shard)
        outcomes: list[Answer | Trouble] = []
        waiting = deque[Chunk]()
        for chunk in self._chunks(self._source.read(items)):
            waiting.append(chunk)
            if len(waiting) > self._most_chunks:
                outcomes += self._finish(waiting.popleft())
        while waiting:
            outcomes += self._finish(waiting.popleft())
        self._target.write(shard, self._format.table(items, outcomes))
        return len(items)

    def close(self) -> None:
        """Free the devices."""
        self._engine.close()

    def _chunks(self, contents: Iterator[Content]) -> Iterator[Chunk]:
        held: list[Content] = []
        nbytes = 0
        for content in contents:
            held.append(content)
            nbytes += len(content) if isinstance(content, bytes) else 0
            if len(held) == CHUNK_IMAGES or nbytes >= CHUNK_BYTES:
                yield self._submit(held)
                held, nbytes = [], 0
        if held:
            yield self._submit(held)

    def _submit(self, contents: Sequence[Content]) -> Chunk:
        if self.is_stopped:
            raise StoppedError
        images = [content for content in contents if isinstance(content, bytes)]
        troubles = [None if isinstance(content, bytes) else content for content in contents]
        return Chunk(troubles, self._engine.submit(images))

    def _finish(self, chunk: Chunk) -> list[Answer | Trouble]:
        answers = iter(chunk.answers.result())
        outcomes = [trouble or next(answers) for trouble in chunk.contents]
        self._tell(len(outcomes))
        return outcomes
