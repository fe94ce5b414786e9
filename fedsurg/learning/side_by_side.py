"""A batch in shares that pass through the network side by side, each in a thread of its own.

On a CPU torch splits every layer among the cores, which leaves them waiting for one another; shares meet once a step.
The loss is still one of the whole batch, so what is trained is the same but for the order in which floats are summed.
That order is fixed: the same number of threads gives the same bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from fedsurg.learning.device import Precision, precision
from fedsurg.models.network import Output, SegmentationNetwork

T = TypeVar("T")
_Flat = tuple[Tensor, ...]  # an Output's tensors


class SideBySide:
    """Forward passes of a network on all of this process's threads; a context manager.

    With one thread, or on a GPU, nothing is special. While it is open torch's threads are the shares': each has one, or
    several to split its layers among where there are fewer clips than threads. A thread that first uses torch in this
    time takes over the number 1: one that is begun beside a training sets its own.

    Args:
        network: in training mode.
        device: of the network.
        mode: precision of the passes.
    """

    def __init__(self, network: SegmentationNetwork, device: torch.device, mode: Precision) -> None:
        self._network, self._device, self._mode = network, device, mode
        self._threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self._threads > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self._threads, "share")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown()
            torch.set_num_threads(self._threads)

    def __call__(self, frames: Tensor) -> Output:
        """The network's output for (b, t, 3, h, w); `backward` through it fills its parameters' gradients."""
        if self._pool is None:
            with precision(self._device, self._mode):
                return self._network(frames)  # type: ignore[no-any-return]
        parameters = [value for value in self._network.parameters() if value.requires_grad]
        shares = frames.tensor_split(min(self._threads, len(frames)))
        spread = partial(self.spread, threads=self._threads // len(shares))
        anchor = frames.new_zeros((), requires_grad=True)  # a function without an input to train gets no gradient
        logits, fused, deepest, *maps = _Joined.apply(anchor, self._share, spread, shares, parameters)
        return Output(logits, fused, deepest, tuple(maps))

    def spread(self, work: Callable[[Any], T], things: Iterable[Any], *, threads: int = 1) -> Iterable[T]:
        """`map`, on all threads; `threads` of torch's for each thing."""
        return self._pool.map(partial(_on, threads, work), things) if self._pool else map(work, things)

    def _share(self, frames: Tensor) -> _Flat:
        # Threads share autocast's cache of weights, and one of them may have made a cast without a gradient.
        with torch.enable_grad(), precision(self._device, self._mode, cache=False):
            output = self._network(frames)
        return output.logits, output.fused, output.deepest, *output.maps


def _on(threads: int, work: Callable[[Any], T], thing: Any) -> T:
    torch.set_num_threads(threads)  # of the thread that this runs in; another has what it was given last
    return work(thing)


class _Joined(torch.autograd.Function):
    """Outputs of all shares as one, each share's graph being kept apart."""

    @staticmethod
    def forward(
        context: Any,
        anchor: Tensor,
        run: Callable[[Tensor], _Flat],
        spread: Callable[..., Iterable[Any]],
        shares: Sequence[Tensor],
        parameters: Sequence[Tensor],
    ) -> _Flat:
        context.outputs = list(spread(run, shares))
        context.spread, context.parameters = spread, parameters
        context.sizes = [len(share) for share in shares]
        context.set_materialize_grads(False)
        joined = tuple(torch.cat([part.detach() for part in parts]) for parts in zip(*context.outputs, strict=True))
        trained = [part.requires_grad for part in context.outputs[0]]
        context.mark_non_differentiable(*(one for one, trains in zip(joined, trained, strict=True) if not trains))
        return joined

    @staticmethod
    def backward(context: Any, *gradients: Tensor | None) -> tuple[None, ...]:
        wanted = [place for place, gradient in enumerate(gradients) if gradient is not None]
        split = [torch.split(gradient, context.sizes) for gradient in gradients if gradient is not None]

        def share(index: int) -> tuple[Tensor | None, ...]:
            outputs: list[Tensor] = [context.outputs[index][place] for place in wanted]
            given = [parts[index] for parts in split]
            found: tuple[Tensor | None, ...] = torch.autograd.grad(
                outputs, context.parameters, given, allow_unused=True
            )
            return found

        for of_share in context.spread(share, range(len(context.sizes))):  # in this order, whichever is ready first
            for parameter, gradient in zip(context.parameters, of_share, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return (None,) * 5
