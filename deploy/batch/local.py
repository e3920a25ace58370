"""A run with one engine in this process."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from deploy.batch.run import make_worker
from deploy.batch.settings import DatasetConfig


def run_here(config: DatasetConfig, shards: Sequence[int], tell: Callable[[int], None]) -> None:
    """Classify shards; raise what `make_worker` and `Worker.run` raise.

    All work is done on other threads, so that Ctrl-C is heard by the one that waits. It leaves at
    once: whoever ends the process need not wait for what runs.
    """
    pool = ThreadPoolExecutor(config.readers, thread_name_prefix="reader")
    worker = pool.submit(make_worker, config, config.serving(), tell).result()
    running = [pool.submit(worker.run, shard) for shard in shards]
    try:
        done, _ = wait(running, return_when=FIRST_EXCEPTION)
        for each in done:
            each.result()
        worker.close()
    finally:
        worker.is_stopped = True
        pool.shutdown(wait=False, cancel_futures=True)
