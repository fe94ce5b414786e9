"""The temporal layer against a second, slow way to compute it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fedsurg.models.temporal import AttentionCore, TemporalLayer
from fedsurg.study.config import TemporalConfig

CHANNELS = (8, 12)
CONFIG = TemporalConfig(frames=2, channels=16, heads=4, pooling=(2, 4))


def _layer() -> TemporalLayer:
    torch.manual_seed(0)
    layer = TemporalLayer(CHANNELS, CONFIG)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return layer


def _maps(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, c, 8 // s, 12 // s, generator=generator) for c, s in zip(CHANNELS, (1, 4), strict=True)]


def _attend(core: AttentionCore, here: Tensor, past: Tensor) -> Tensor:
    """One sample, head by head, the softmax written out: (l,d), (n,d) -> (l,d)."""
    query = core.query(core.norm_attention(here))
    key, value = core.key(core.norm_attention(past)), core.value(core.norm_attention(past))
    answers = []
    for head in range(4):
        columns = slice(4 * head, 4 * head + 4)
        scores = (query[:, columns] @ key[:, columns].T / math.sqrt(4)).exp()
        answers.append(scores / scores.sum(1, keepdim=True) @ value[:, columns])
    here = here + core.out(torch.cat(answers, dim=1))
    return here + core.feed_forward(core.norm_forward(here))


def test_the_layer_by_hand() -> None:
    """Projects at full size and pools afterwards, loops over samples, lags, grids and heads."""
    layer, current, past = _layer(), _maps(1), [_maps(2), _maps(3)]
    with torch.no_grad():
        found = layer(current, [layer.tokens(maps) for maps in past])
        for index, scale in enumerate(layer.scales):
            for b in range(2):
                maps = current[index][b]
                tokens = []
                for lag, frame in enumerate(past):
                    full = scale.reduce(frame[index][b].permute(1, 2, 0)).permute(2, 0, 1)
                    for by in CONFIG.pooling:
                        grid = F.adaptive_avg_pool2d(full, (max(1, full.shape[1] // by), max(1, full.shape[2] // by)))
                        tokens.append(grid.flatten(1).T + scale.lag[lag])
                here = scale.reduce(maps.flatten(1).T)
                change = scale.expand(_attend(layer.core, here, torch.cat(tokens)))
                expected = maps + (scale.residual * change).T.reshape(maps.shape)
                assert torch.allclose(found[index][b], expected, atol=1e-5)


def test_token_counts() -> None:
    tokens = _layer().tokens(_maps(1))
    assert tokens[0].shape == (2, 4 * 6 + 2 * 3, 16)
    assert tokens[1].shape == (2, 1 * 1 + 1 * 1, 16)  # a map of 2 x 3 still gives a token per grid


def test_a_new_layer_changes_nothing() -> None:
    layer = TemporalLayer(CHANNELS, CONFIG)
    current = _maps(1)
    found = layer(current, [layer.tokens(_maps(2)), layer.tokens(_maps(3))])
    assert all(torch.equal(after, before) for after, before in zip(found, current, strict=True))


def test_the_order_of_the_past_matters() -> None:
    layer, current = _layer(), _maps(1)
    first, second = layer.tokens(_maps(2)), layer.tokens(_maps(3))
    assert not torch.allclose(layer(current, [first, second])[0], layer(current, [second, first])[0], atol=1e-4)
