"""Networks: what segments a frame, and which of its parameters belong to which part."""

from fedsurg.models.backbones import supported_encoders
from fedsurg.models.network import Output, SegmentationNetwork, StreamState, build_network, count_parameters
from fedsurg.models.parts import canonical_name

__all__ = [
    "Output",
    "SegmentationNetwork",
    "StreamState",
    "build_network",
    "canonical_name",
    "count_parameters",
    "supported_encoders",
]
