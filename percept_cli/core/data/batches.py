"""The examples of a training, and batches of them that threads read."""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

# Threads that decode: two keep up with a processor that trains; a GPU wants as many as there are processors.
FEWEST_READERS, MOST_READERS = 2, 16


class Examples(Protocol):
    """The examples of a training, all of one shape; example n depends only on n."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Tensor: ...

    @property
    def unreadable(self) -> Mapping[Path, str]:
        """The files that could not be read so far, and why."""


def first_examples(examples: Examples, most: int) -> Tensor:
    """The first examples in one tensor (N, ...), at most so many."""
    return torch.stack([examples[number] for number in range(min(most, len(examples)))])


def batches_from(examples: Examples, batch: int, first: int, rank: int = 0, world: int = 1) -> Iterator[Tensor]:
    """The batches (batch, ...) of process `rank` of `world`, from batch number `first` on.

    Threads read the next examples while the caller uses a batch; Pillow decodes without holding Python's lock.
    """
    readers = count_readers()
    numbers = (
        range(start, start + batch)
        for start in ((step * world + rank) * batch for step in range(first, len(examples) // (batch * world)))
    )
    with ThreadPoolExecutor(readers) as pool:
        # As many batches as give every reader an example, and one more.
        loads = ([pool.submit(examples.__getitem__, number) for number in each] for each in numbers)
        waiting = deque(islice(loads, 1 + -(-readers // batch)))
        try:
            while waiting:
                batched = torch.stack([future.result() for future in waiting.popleft()])
                waiting.extend(islice(loads, 1))
                yield batched
        finally:
            for future in (each for futures in waiting for each in futures):
                future.cancel()


def count_readers() -> int:
    """The number of threads that read: the processors of this process, of several processes its part."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = processors // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(MOST_READERS, max(FEWEST_READERS, share))
