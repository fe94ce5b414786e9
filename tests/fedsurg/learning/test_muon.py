import pytest
import torch
from torch import nn

from fedsurg.learning.muon import Muon, orthogonal


def matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)))


@pytest.mark.parametrize("shape", [(16, 24), (40, 20)])
def test_in_bfloat16_it_is_torchs_own_to_the_last_bit(shape: tuple[int, int]) -> None:
    ours, theirs = matrix(*shape), matrix(*shape)
    one = Muon([ours], 0.1, 0.05, dtype=torch.bfloat16)
    two = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for value, optimiser in ((ours, one), (theirs, two)):
            optimiser.zero_grad()
            (value - torch.arange(float(value.numel())).reshape(shape)).square().sum().backward()
            optimiser.step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", [(16, 24), (40, 20)])
def test_all_directions_become_about_equally_long(shape: tuple[int, int]) -> None:
    value = matrix(*shape).detach()
    left, before, right = torch.linalg.svd(value, full_matrices=False)
    after = torch.diagonal(left.T @ orthogonal(value) @ right.T)  # its singular vectors stay those of `value`
    assert before.max() > 4 * before.min()
    assert after.min() > 0.5 and after.max() < 1.5


def test_a_gradient_of_zeros_moves_nothing() -> None:
    value = matrix(16, 24)
    before = value.detach().clone()
    value.grad = torch.zeros_like(value)
    Muon([value], 0.1, 0.0).step()
    assert torch.equal(value, before)
