"""The segmentation network: encoder, temporal layer, text gate, pyramid decoder, head."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from torch import Tensor, nn

from fedsurg.errors import NetworkError
from fedsurg.files import derived_seed
from fedsurg.models.adapters import add_adapters
from fedsurg.models.colour import SEEN
from fedsurg.models.encoder import Encoder
from fedsurg.models.gate import TextGate
from fedsurg.models.parts import mark, named_parts, normalisation
from fedsurg.models.temporal import TemporalLayer, Tokens
from fedsurg.study.config import NetworkConfig, Part, Study

_GROUPS = 32  # of the decoder's group normalisation, fixed in segmentation_models_pytorch
FUSED_STRIDE, DEEPEST_STRIDE = 4, 32  # of the decoder's map and of the encoder's last, in pixels


@dataclass(frozen=True)
class Output:
    """What one forward pass gives for the current frame.

    logits: (b,k,h,w) float32, at the input's size.
    fused:  (b,cs,h/4,w/4) the decoder's merged map.
    deepest: (b,c5,h/32,w/32) the deepest map as given to the decoder, gated.
    maps: the encoder's maps after the temporal layer, (b,c,h/s,w/s) at stride s = 4, 8, 16 and 32.

    b batch · k classes · h, w the input's size; sizes that do not divide are rounded up.
    """

    logits: Tensor
    fused: Tensor
    deepest: Tensor
    maps: tuple[Tensor, ...]


@dataclass(frozen=True)
class StreamState:
    """What `step` remembers: the tokens of up to m past frames, the newest first."""

    history: tuple[Tokens, ...]


class SegmentationNetwork(nn.Module):
    """FedST's network (arXiv 2506.23759), of which a study may leave parts out.

        frames -> colours -> encoder -> temporal layer -> text gate -> pyramid decoder -> 1x1 head -> upsampling

    Every part draws its initial values from a random stream of its own, derived from torch's seed: what one
    part starts with does not depend on which others are there.

    Args:
        config: `[network]`; it has a temporal layer if `config.temporal.enabled`.
        classes: k, the background included.
        text_vector: (e,) the site's; given, the network has a text gate.
        adapters: whether the encoder carries the site's LoRA.

    Raises:
        NetworkError: a backbone, weight file or size that does not fit.
    """

    def __init__(
        self,
        config: NetworkConfig,
        classes: int,
        *,
        text_vector: Tensor | None = None,
        adapters: bool = False,
    ) -> None:
        super().__init__()
        _check_decoder(config)
        with _stream("encoder"):
            self.encoder = Encoder(config.encoder, config.encoder_weights)
        with _stream("decoder"):
            self.decoder = _decoder(self.encoder.channels, config)
        with _stream("head"):
            self.head = nn.Conv2d(config.segmentation_channels, classes, kernel_size=1)
            mark(self.head, "head")
        with _stream("temporal"):
            temporal = config.temporal
            self.temporal = TemporalLayer(self.encoder.channels, temporal) if temporal.enabled else None
        with _stream("gate"):
            self.gate = None if text_vector is None else TextGate(self.encoder.channels[-1], text_vector)
        with _stream("adapters"):
            if adapters:
                add_adapters(self.encoder.body, config.adapters)
        self.history_gradient = temporal.history_gradient
        self._seen = SEEN[config.colour]

    @property
    def history(self) -> int:
        """m, the past frames it looks at; 0 without a temporal layer."""
        return self.temporal.frames if self.temporal is not None else 0

    def forward(self, frames: Tensor) -> Output:
        """Segment the last frame of each clip.

        When a clip is shorter than m + 1 its oldest frame is repeated; a single frame is its own history.

        Args:
            frames: (b,t,3,h,w) with ImageNet's mean and deviation taken out, oldest first, t from 1 to m + 1.

        Raises:
            NetworkError: t is out of range.
        """
        t = frames.shape[1]
        if not 1 <= t <= self.history + 1:
            raise NetworkError(f"clips of {t} frames: this network takes 1 to {self.history + 1} (t of (b,t,3,h,w))")
        size = frames.shape[-2:]
        padded = _pad(self._seen(frames))
        # the current frame first: autocast caches its weight casts, and a cast made without gradient would be
        # taken for the current frame too, which would then train nothing
        current: list[Tensor] = self.encoder(padded[:, -1])
        if self.temporal is not None:
            current = self.temporal(current, self._past(padded[:, :-1], current))
        return self._decode(current, size)

    @torch.no_grad()
    def step(self, frame: Tensor, state: StreamState | None) -> tuple[Tensor, StreamState]:
        """Segment the next frame of a stream; each frame is encoded once.

        Args:
            frame: (b,3,h,w).
            state: what the previous call returned; None at the start.

        Returns:
            logits (b,k,h,w) float32, and the state for the next call.

        Raises:
            NetworkError: the state is of another number of streams.
        """
        history = state.history if state is not None else ()
        streams = len(history[0][0]) if history else len(frame)
        if streams != len(frame):
            raise NetworkError(f"streams: the state holds {streams}, the frame {len(frame)}; start with state = None")
        current: list[Tensor] = self.encoder(_pad(self._seen(frame)))
        kept: tuple[Tokens, ...] = ()
        if self.temporal is not None:
            newest = self.temporal.tokens(current)
            kept = (newest, *history)[: self.history]
            current = self.temporal(current, self._repeat(history or (newest,)))
        return self._decode(current, frame.shape[-2:]).logits, StreamState(kept)

    def tensors(self) -> dict[str, nn.Parameter]:
        """Canonical name -> parameter, in the order of definition."""
        return {name: parameter for name, parameter, _ in named_parts(self)}

    def parts(self) -> dict[str, Part]:
        """Canonical name -> the part it belongs to, in the order of `tensors`."""
        return {name: part for name, _, part in named_parts(self)}

    def normalisation(self) -> frozenset[str]:
        """Canonical names of the weights and biases of all normalisation layers, whatever part they belong to."""
        return normalisation(self)

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor], *, strict: bool = False) -> None:
        """Copy values in by canonical name; all of them or, on an error, none.

        Raises:
            NetworkError: a name that is unknown, a shape that differs or, if `strict`, one that is missing.
        """
        own = self.tensors()
        for name, tensor in tensors.items():
            if name not in own:
                raise NetworkError(f"tensor {name!r}: this network has none of that name")
            if tensor.shape != own[name].shape:
                raise NetworkError(f"tensor {name!r}: {tuple(own[name].shape)} needed, got {tuple(tensor.shape)}")
        missing = [name for name in own if name not in tensors]
        if strict and missing:
            raise NetworkError(f"{len(missing)} of {len(own)} tensors are missing, the first is {missing[0]!r}")
        for name, tensor in tensors.items():
            own[name].copy_(tensor)

    def _past(self, frames: Tensor, current: list[Tensor]) -> list[Tokens]:
        """Tokens of the m frames before, the newest first: (b,t-1,3,h,w), or the current frame's own maps."""
        assert self.temporal is not None  # only called with one
        b, t = frames.shape[:2]
        if t == 0:
            own = current if self.history_gradient else [maps.detach() for maps in current]
            return self._repeat((self.temporal.tokens(own),))
        with torch.set_grad_enabled(self.history_gradient and torch.is_grad_enabled()):
            maps = self.encoder(frames.flatten(0, 1))
        tokens = [scale.reshape(b, t, *scale.shape[1:]) for scale in self.temporal.tokens(maps)]
        return self._repeat(tuple(tuple(scale[:, i] for scale in tokens) for i in reversed(range(t))))

    def _repeat(self, past: tuple[Tokens, ...]) -> list[Tokens]:
        """As many as there are lags: the oldest is repeated."""
        return [past[min(lag, len(past) - 1)] for lag in range(self.history)]

    def _decode(self, maps: list[Tensor], size: torch.Size) -> Output:
        """Pyramid (b,c,h/s,w/s) -> output; `size` is the input's before padding."""
        deepest = maps[-1] if self.gate is None else self.gate(maps[-1])
        fused: Tensor = self.decoder([*maps[:-1], deepest])
        coarse = self.head(fused).float()
        # corners not aligned: a map of stride 4 has its samples at the centres of 4 x 4 pixels
        logits = F.interpolate(coarse, scale_factor=float(FUSED_STRIDE), mode="bilinear", align_corners=False)
        h, w = size
        return Output(
            logits[..., :h, :w], fused[..., : -(-h // FUSED_STRIDE), : -(-w // FUSED_STRIDE)], deepest, tuple(maps)
        )


def build_network(
    config: NetworkConfig,
    classes: int,
    *,
    text_vector: Tensor | None = None,
    adapters: bool = False,
    seed: int,
) -> SegmentationNetwork:
    """The network of `config`, the same for the same seed; torch's own random state is left as it was.

    A tensor that two such networks both have starts equal in both, whether or not they have gate, adapters or
    temporal layer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SegmentationNetwork(config, classes, text_vector=text_vector, adapters=adapters)


def network_of(study: Study, *, text_vector: Tensor | None = None, adapters: bool = False) -> SegmentationNetwork:
    """The network of a study as it is before training: with a gate if there is a text vector (e,), with LoRA if asked.

    Raises:
        NetworkError: see `build_network`.
    """
    classes = len(study.task.classes)
    return build_network(study.network, classes, text_vector=text_vector, adapters=adapters, seed=study.seed)


def count_parameters(network: SegmentationNetwork) -> dict[str, int]:
    """Parameters per part; the query projections count as encoder."""
    counts = dict.fromkeys(("encoder", "temporal", "gate", "adapters", "decoder", "head"), 0)
    for _, parameter, part in named_parts(network):
        counts["encoder" if part == "query" else part] += parameter.numel()
    return counts


@contextmanager
def _stream(part: Part) -> Iterator[None]:
    """A random stream for one part, derived from torch's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(torch.initial_seed(), part))
        yield


def _decoder(channels: tuple[int, ...], config: NetworkConfig) -> nn.Module:
    decoder: nn.Module = FPNDecoder(
        encoder_channels=list(channels),
        encoder_depth=len(channels),
        pyramid_channels=config.pyramid_channels,
        segmentation_channels=config.segmentation_channels,
        dropout=0.0,
    )
    mark(decoder, "decoder")
    return decoder


def _check_decoder(config: NetworkConfig) -> None:
    found = config.segmentation_channels
    if found % _GROUPS:
        raise NetworkError(
            f"network.segmentation_channels is {found}; the decoder normalises {_GROUPS} groups of channels, "
            f"so it must be a multiple of {_GROUPS}: use {-(-found // _GROUPS) * _GROUPS}"
        )


def _pad(frames: Tensor) -> Tensor:
    """Repeat the last row and column of (...,3,h,w) until the deepest map has whole cells."""
    h, w = frames.shape[-2:]
    down, right = -h % DEEPEST_STRIDE, -w % DEEPEST_STRIDE
    if not (down or right):
        return frames
    flat = F.pad(frames.flatten(0, -4), (0, right, 0, down), mode="replicate")
    return flat.reshape(*frames.shape[:-2], h + down, w + right)
