"""Random numbers from a seed, and a model looked at, leave everything as it was."""

import torch
from torch import nn

from pyrovae.runtime import frozen, seeded


def test_a_seed_holds_inside_only() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(5):
        inside = torch.rand(4)
    assert torch.equal(torch.rand(2), expected)
    with seeded(5):
        assert torch.equal(torch.rand(4), inside)


def test_other_devices_are_not_seeded(monkeypatch) -> None:
    """Work on the CPU leaves the generators of GPUs alone."""
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    with seeded(5), frozen(nn.Linear(2, 2)):
        torch.rand(1)
    assert seeds == []


def test_frozen_gives_modes_back() -> None:
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    with frozen(net) as device:
        assert (device.type, torch.is_grad_enabled()) == ("cpu", False)
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net] == [True, False]
