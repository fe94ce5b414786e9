"""The penalty of deep supervision, by hand: even logits cost log 2 on each of the three coarse maps."""

import math

import pytest
import torch

from fedsurg.data.labels import LabelSpace
from fedsurg.learning.deep_supervision import DeepSupervision
from fedsurg.learning.loss import LossWeights, SegmentationLoss
from fedsurg.models.network import Output

TWO = LabelSpace(("background", "instrument"), ((0,), (1,)), (), 2)


def test_even_logits_cost_log_two_on_each_coarse_map() -> None:
    loss = SegmentationLoss(TWO, LossWeights(1.0, 0.0))
    heads = DeepSupervision((1, 2, 3, 4), 2, loss, 0.5, seed=0)
    heads.load({name: torch.zeros_like(value) for name, value in heads.tensors().items()})
    strides = {4: 1, 8: 2, 16: 3, 32: 4}  # and how many channels
    maps = tuple(torch.randn(1, width, 64 // stride, 96 // stride) for stride, width in strides.items())
    labels = torch.randint(0, 2, (1, 60, 90))  # the input was padded to 64 x 96
    output = Output(torch.zeros(1, 2, 60, 90), maps[0], maps[-1], maps)
    assert heads(output, labels).item() == pytest.approx(0.5 * 3 * math.log(2), rel=1e-5)
