"""Pictures made side by side by threads, with results in the order of the jobs and a bounded amount of memory."""

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 8  # results for each worker that may wait for an earlier one
TICK = 0.2  # seconds between two looks at jobs that are still to come
STOPPING = 10.0  # seconds in which the pictures in work may end when the work is stopped
THREAD_NAME = "percept-picture"


class MemoryGate:
    """Lets work begin while the bytes of all that is in work fit into a budget, in the order in which it came.

    One piece of work may always begin, also where it needs more than the budget.
    """

    def __init__(self, budget: int):
        self.budget, self.used = budget, 0
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextmanager
    def holding(self, needed: int) -> Iterator[None]:
        """A context for work that needs so many bytes; entering it waits."""
        with self._turn, self._changed:  # the next one waits behind, so that a large picture is not passed by for ever
            self._changed.wait_for(lambda: self.used == 0 or self.used + needed <= self.budget)
            self.used += needed
        try:
            yield
        finally:
            with self._changed:
                self.used -= needed
                self._changed.notify_all()


class _Slot(Generic[Item, Result]):
    """One item in work: its result or the error of its work, when `done` is set."""

    def __init__(self, item: Item):
        self.item = item
        self.done = threading.Event()
        self.result: Result | None = None
        self.error: BaseException | None = None


def run_pipeline(
    items: Iterable[Item | None],
    work: Callable[[Item], Result],
    workers: int,
    prepare: Callable[[], None] = lambda: None,
    ahead: int = AHEAD,
) -> Iterator[Result]:
    """The results of `work` for the items, in their order, computed by so many threads.

    items: read in the calling thread, as the work goes on; None stands for one that is still to come, and is asked for again
    a little later. prepare: called once in each thread. ahead: results for each thread that may wait to be taken. An error
    of the work is raised here in its turn. When the iterator is closed, or an error is raised, no new work begins, and what
    is in work has some seconds to end.
    """
    waiting: deque[_Slot[Item, Result]] = deque()
    slots: deque[_Slot[Item, Result]] = deque()
    available, stopped = threading.Condition(), threading.Event()

    def labor() -> None:
        prepare()
        while True:
            with available:
                available.wait_for(lambda: bool(waiting) or stopped.is_set())
                if stopped.is_set():
                    return
                slot = waiting.popleft()
            try:
                slot.result = work(slot.item)
            except BaseException as error:  # raised again in the thread that asked
                slot.error = error
            slot.done.set()

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(labor,), name=THREAD_NAME, daemon=True)
        for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    source = iter(items)
    exhausted = False
    try:
        while True:
            to_come = False
            while not exhausted and not to_come and len(slots) < ahead * workers:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                    break
                to_come = item is None
                if item is not None:
                    slot = _Slot[Item, Result](item)
                    slots.append(slot)
                    with available:
                        waiting.append(slot)
                        available.notify()
            if not slots:
                if exhausted:
                    return
                time.sleep(TICK)
            elif slots[0].done.wait(TICK if to_come else None):
                first = slots.popleft()
                if first.error is not None:
                    raise first.error
                yield first.result  # type: ignore[misc]
    finally:
        with available:
            stopped.set()
            available.notify_all()
        last = time.monotonic() + STOPPING
        for thread in threads:
            thread.join(max(0.0, last - time.monotonic()))


def is_still_working() -> bool:
    """Whether a thread of a pipeline that was stopped has not ended."""
    return any(thread.name == THREAD_NAME for thread in threading.enumerate())
