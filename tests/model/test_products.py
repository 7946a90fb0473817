"""Products by oneDNN give what torch's own linear layers give, forward and backward; and are taken where they are
faster."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import make_policy
from torch import nn

from ra3.model import products
from ra3.model.products import OneDnnLinear

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def same_layer(layer: nn.Linear) -> OneDnnLinear:
    """A copy of the layer that multiplies by oneDNN."""
    twin = copy.deepcopy(layer)
    twin.__class__ = OneDnnLinear
    return twin


def learnt(layer: nn.Linear, x: torch.Tensor) -> list[torch.Tensor]:
    """What the layer makes of x, and the gradients of a sum of squares."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("shape", [(1, 300), (37, 300), (2, 19, 300), (1, 1, 300)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_a_linear_layer(shape, bias):
    torch.manual_seed(0)
    layer, x = nn.Linear(300, 270, bias=bias), torch.randn(shape)
    exact = learnt(copy.deepcopy(layer).double(), x.double())
    for found, wanted in zip(learnt(same_layer(layer), x), exact, strict=True):
        assert found.shape == wanted.shape and found.dtype == torch.float32
        assert float((found - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


def test_frozen_weights_and_no_rows_at_all():
    layer = same_layer(nn.Linear(300, 270)).requires_grad_(False)
    y, gradient, *others = learnt(layer, torch.randn(3, 300))
    assert gradient.shape == (3, 300) and others == [None, None]
    assert layer(torch.empty(0, 300)).shape == (0, 270)
    with torch.no_grad():
        assert torch.equal(layer(torch.ones(3, 300)), layer(torch.ones(3, 300)))


def test_other_formats_go_the_way_of_torch():
    layer, x = nn.Linear(300, 270), torch.randn(5, 300)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(same_layer(layer)(x), layer(x))
    assert torch.equal(same_layer(layer).double()(x.double()), layer.double()(x.double()))


@pytest.mark.parametrize("faster", [True, False])
def test_a_policy_takes_them_where_they_are_faster(tmp_path, monkeypatch, faster):
    monkeypatch.setattr("ra3.model.products.onednn_is_faster", lambda: faster)
    policy = make_policy(tmp_path / "model", hidden_size=256, intermediate_size=512, num_hidden_layers=2)
    kinds = {type(module) for module in policy.model.modules() if isinstance(module, nn.Linear)}
    assert (OneDnnLinear in kinds) == faster
    small = make_policy(tmp_path / "small").model
    assert not any(isinstance(module, OneDnnLinear) for module in small.modules())
    monkeypatch.undo()
    assert isinstance(products.onednn_is_faster(), bool)
