"""Clips as H.264 files. PyAV is needed for these alone, so it is an extra and is imported when a file is made."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from fedsurg.errors import SimulatorError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST_CLIP_S = 86_400  # of one frame in a day: no clip lasts longer, see `request`
QUALITY = 18  # x264's constant rate factor: about the limit of what the eye sees


def check_video(height: int, width: int) -> None:
    """Refuses pictures that H.264 cannot hold, and a machine that cannot make them.

    Raises:
        SimulatorError: an odd side, or PyAV is missing.
    """
    if height % 2 or width % 2:
        raise SimulatorError(f"video needs an even height and width, not {height}x{width}; change the size")
    if importlib.util.find_spec("av") is None:
        raise SimulatorError("video needs PyAV; install it, in the checkout: pip install '.[video]'")


def h264(pictures: Sequence[NDArray[np.uint8]], frame_rate_hz: float) -> bytes:
    """An MP4 file of pictures (h, w, 3), the same bytes on every call: one thread, no date."""
    import av

    height, width = pictures[0].shape[:2]
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        rate = Fraction(frame_rate_hz).limit_denominator(LONGEST_CLIP_S)
        track = container.add_stream("libx264", rate=rate, options={"crf": str(QUALITY), "preset": "medium"})
        track.width, track.height, track.pix_fmt = width, height, "yuv420p"
        track.codec_context.thread_count = 1
        track.codec_context.flags |= av.codec.context.Flags.bitexact
        for picture in pictures:
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode(None))
    return stream.getvalue()
