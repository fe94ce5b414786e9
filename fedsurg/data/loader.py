"""Batches: drawn from a seed, made ahead of time in the background."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import Clip, ClipDataset, evenly_spread
from fedsurg.data.normalisation import normalise
from fedsurg.files import derived_seed


@dataclass(frozen=True)
class Batch:
    """What a network is given; all clips of a batch have the same length."""

    frames: Tensor  # (b, t, 3, h, w) float32, normalised
    labels: Tensor  # (b, h, w) int64


class ClipLoader:
    """Batches of one dataset.

    Args:
        dataset: where clips come from.
        augmentation: applied to training batches; None for none.
        batch_size: clips per batch.
        prefetch: batches made ahead of the one in use.
        workers: threads that make them; more than one pays where a GPU waits for them. The numbers do not
            depend on it.

    Attributes:
        waited_s: seconds the consumer waited for data, summed over the loader's life.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        augmentation: Augmentation | None,
        batch_size: int,
        *,
        prefetch: int = 2,
        workers: int = 1,
    ) -> None:
        self.dataset = dataset
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.prefetch = prefetch
        self.workers = workers
        self.waited_s = 0.0

    def batches(self, steps: int, seed: int) -> Generator[Batch, None, None]:
        """`steps` training batches, the same for the same seed.

        Cases are equally likely, however long they are: each is drawn once before any is drawn again, and so
        are the frames within a case. Leaving the loop early stops the background work.

        Raises:
            DataError: a file that cannot be used, when its batch is due.
        """
        draws = _draws(self.dataset, seed)
        plans = [list(islice(draws, self.batch_size)) for _ in range(steps)]
        yield from self._prefetched(partial(self._training_batch, plan) for plan in plans)

    def in_order(self, max_frames: int = 0) -> Iterator[tuple[list[int], Batch]]:
        """Unaugmented batches with their dataset indices, ascending; the last one may be smaller.

        Args:
            max_frames: at most that many frames, evenly spread over the dataset; 0: all.
        """
        indices = evenly_spread(len(self.dataset), max_frames)
        plans = [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]
        batches = self._prefetched(partial(self._plain_batch, plan) for plan in plans)
        yield from zip(plans, batches, strict=True)

    def _training_batch(self, plan: Sequence[tuple[int, int]]) -> Batch:
        return _collate([self._augmented(index, seed) for index, seed in plan])

    def _augmented(self, index: int, seed: int) -> Clip:
        clip = self.dataset[index]
        if self.augmentation is None:
            return clip
        return self.augmentation(clip, torch.Generator().manual_seed(seed))

    def _plain_batch(self, plan: Sequence[int]) -> Batch:
        return _collate([self.dataset[index] for index in plan])

    def _prefetched(self, jobs: Iterable[Callable[[], Batch]]) -> Iterator[Batch]:
        for batch, waited_s in _ahead(jobs, self.prefetch, self.workers):
            self.waited_s += waited_s
            yield batch


class PooledLoader:
    """Batches of several sites in equal parts: the data of the `central` baseline.

    A batch holds clips of one site, because sites may differ in their labels and in t. Sites take turns, in
    an order that is drawn anew for each turn. Arguments as for `ClipLoader`, with one dataset per site.
    """

    def __init__(
        self,
        datasets: Sequence[ClipDataset],
        augmentation: Augmentation | None,
        batch_size: int,
        *,
        prefetch: int = 2,
        workers: int = 1,
    ) -> None:
        self._loaders = [
            ClipLoader(dataset, augmentation, batch_size, prefetch=prefetch, workers=workers) for dataset in datasets
        ]

    @property
    def waited_s(self) -> float:
        """Seconds the consumer waited for data, summed over the loader's life."""
        return sum(loader.waited_s for loader in self._loaders)

    def batches(self, steps: int, seed: int) -> Iterator[tuple[int, Batch]]:
        """`steps` batches, each with the index of its site; the same for the same seed."""
        turns = _Deck(range(len(self._loaders)), torch.Generator().manual_seed(derived_seed(seed, "turns")))
        order = [turns.draw() for _ in range(steps)]
        sources = [
            loader.batches(order.count(site), derived_seed(seed, site)) for site, loader in enumerate(self._loaders)
        ]
        try:
            for site in order:
                yield site, next(sources[site])
        finally:
            for source in sources:
                source.close()


class _Deck:
    """Draws without replacement, and shuffles again when all are drawn."""

    def __init__(self, items: Iterable[int], rng: torch.Generator) -> None:
        self._items = list(items)
        self._rng = rng
        self._left: list[int] = []

    def draw(self) -> int:
        if not self._left:
            order = torch.randperm(len(self._items), generator=self._rng).tolist()
            self._left = [self._items[place] for place in order]
        return self._left.pop()


def _draws(dataset: ClipDataset, seed: int) -> Iterator[tuple[int, int]]:
    """Without end: a dataset index and the seed of its augmentation."""
    rng = torch.Generator().manual_seed(seed)
    frames_of: dict[str, list[int]] = {}
    for index in range(len(dataset)):
        frames_of.setdefault(dataset.row(index).case, []).append(index)
    decks = [_Deck(frames_of[case], rng) for case in sorted(frames_of)]
    cases = _Deck(range(len(decks)), rng)
    while True:
        index = decks[cases.draw()].draw()
        yield index, int(torch.randint(1 << 62, (), generator=rng))


def _ahead(jobs: Iterable[Callable[[], Batch]], depth: int, workers: int) -> Iterator[tuple[Batch, float]]:
    """The results of `jobs` in order, with the seconds waited for each; `depth` jobs run ahead in threads."""
    waiting: deque[Future[Batch]] = deque()
    remaining = iter(jobs)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fedsurg-data")
    try:
        waiting.extend(pool.submit(job) for job in islice(remaining, max(1, depth)))
        while waiting:
            started = time.perf_counter()
            result = waiting.popleft().result()
            waited_s = time.perf_counter() - started
            waiting.extend(pool.submit(job) for job in islice(remaining, 1))
            yield result, waited_s
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collate(clips: Sequence[Clip]) -> Batch:
    frames = torch.stack([clip.frames for clip in clips])
    return Batch(normalise(frames), torch.stack([clip.label for clip in clips]))
