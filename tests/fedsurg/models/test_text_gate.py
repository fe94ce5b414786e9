"""The text gate."""

import math

import pytest
import torch

from fedsurg.errors import NetworkError
from fedsurg.models.gate import TextGate


def test_a_new_gate_is_the_identity() -> None:
    features = torch.randn(2, 32, 3, 4)
    assert torch.equal(TextGate(32, torch.randn(5))(features), features)


def test_a_gate_of_one_half() -> None:
    """z = ln 3: sigmoid 3/4, gate 2 * 3/4 - 1 = 1/2, features * 1.5."""
    gate = TextGate(32, torch.randn(5))
    torch.nn.init.constant_(gate.decide.bias, math.log(3))
    features = torch.randn(2, 32, 3, 4)
    assert torch.allclose(gate(features), 1.5 * features)


def test_the_gate_depends_on_text_and_features() -> None:
    torch.manual_seed(0)
    gate = TextGate(256, torch.tensor([1.0, 0.0]))
    torch.nn.init.normal_(gate.decide.weight)
    features = torch.randn(1, 256, 3, 4)
    first = gate.gate(features)
    assert not torch.allclose(gate.gate(features + 1), first)
    gate.text = torch.tensor([0.0, 1.0])
    assert not torch.allclose(gate.gate(features), first)


def test_the_text_is_a_unit_constant_that_no_state_dict_holds() -> None:
    gate = TextGate(32, torch.tensor([3.0, 4.0]))
    assert torch.allclose(gate.text, torch.tensor([0.6, 0.8]))
    assert "text" not in gate.state_dict()
    assert all(parameter is not gate.text for parameter in gate.parameters())


@pytest.mark.parametrize("text", [torch.zeros(4), torch.ones(2, 2), torch.tensor([1.0, float("nan")])])
def test_texts_that_cannot_be_used(text: torch.Tensor) -> None:
    with pytest.raises(NetworkError, match="one finite non-zero vector is needed"):
        TextGate(32, text)
