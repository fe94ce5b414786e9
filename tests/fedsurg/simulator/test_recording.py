"""Combed lines and coarse blocks, by hand."""

import numpy as np

from fedsurg.simulator.recording import BLOCK, compressed, interlaced


def test_every_other_line_is_that_of_the_picture_before() -> None:
    now, before = np.full((6, 4, 3), 200, np.uint8), np.full((6, 4, 3), 50, np.uint8)
    for first in (0, 1):
        woven = interlaced(now, before, first)
        assert (woven[first::2] == 50).all() and (woven[1 - first :: 2] == 200).all()
    assert (interlaced(now, now, 0) == now).all()
    assert (now == 200).all()


def test_compression_loses_more_with_a_larger_quantiser() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 200, (37, 50, 3), dtype=np.uint8)
    losses = []
    for quantiser in (10, 25, 40):
        stored = compressed(picture, quantiser, (3, 5))
        assert stored.shape == picture.shape and stored.dtype == np.uint8
        losses.append(float(np.abs(stored.astype(float) - picture).mean()))
    assert losses[0] < losses[1] < losses[2]


def test_a_plain_picture_stays_and_light_keeps_its_detail_longer_than_colour() -> None:
    plain = np.full((24, 24, 3), (120, 90, 60), np.uint8)
    assert np.abs(compressed(plain, 20).astype(int) - plain).max() <= 4
    stripes = np.arange(24)[None, :, None] % 2 > 0
    grey = np.broadcast_to(np.where(stripes, 160, 80), (24, 24, 3)).astype(np.uint8)
    coloured = np.where(stripes, (160, 80, 80), (80, 109, 160)).repeat(24, axis=0).astype(np.uint8)
    contrast = [
        float(np.ptp(compressed(shown, 15)[8:16, 8:16, channel].astype(float)) / 80)
        for shown, channel in ((grey, 0), (coloured, 2))
    ]
    assert contrast[0] > 0.8 and contrast[1] < 0.4


def test_strong_compression_shows_blocks_somewhere() -> None:
    y, x = np.mgrid[:48, :48]
    slope = np.stack([x * 2 + y] * 3, axis=-1).astype(np.uint8)
    stored = compressed(slope, 42, (2, 6)).astype(float)[..., 0]
    jumps = np.abs(np.diff(stored, axis=1)).mean(axis=0)
    period = [jumps[start::BLOCK].mean() for start in range(BLOCK)]
    assert max(period) > 2 * np.median(period)
