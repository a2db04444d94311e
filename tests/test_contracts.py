"""What parts declare, and that a plain module is wrapped once, without a trace in its weights."""

import copy

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyrovae import CVAE, VAE, Autoencoder
from pyrovae.contracts import Likelihood, NotApplicable, Posterior, Prior, as_prior, unwrapped
from pyrovae.factory.names import part_names


class Plain(nn.Module):
    """A prior that knows nothing of pyrovae."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(2))

    def forward(self, y: Tensor | None = None) -> dist.TorchDistribution:
        return dist.Normal(self.loc, 1.0).to_event(1)


@pytest.mark.parametrize("contract", [Prior, Likelihood, Posterior])
def test_a_contract_is_abstract(contract: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        contract()


def test_a_plain_module_is_a_part_whose_weights_keep_their_names() -> None:
    torch.manual_seed(0)
    model = VAE((1, 4, 4), prior=Plain())
    assert isinstance(unwrapped(model.prior), Plain)
    assert (model.prior.periodic, model.prior.scored) == (False, True)
    assert "prior.loc" in model.state_dict()
    assert as_prior(model.prior) is model.prior
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.prior.loc.add_(1)
    model.load_state_dict(other.state_dict())
    assert torch.equal(model.prior.loc, torch.ones(2))
    assert list(model.state_dict()) == list(other.state_dict())


def test_what_a_plain_module_declares_is_taken_over() -> None:
    class Told(Plain):
        periodic = True
        seen = 0

        def check_classes(self, num_classes: int) -> None:
            self.seen = num_classes

    prior = as_prior(told := Told())
    assert prior.periodic
    prior.check_classes(7)
    assert told.seen == 7


def test_a_part_that_is_put_in_later_is_wrapped_too() -> None:
    model = VAE((1, 4, 4))
    model.prior = Plain()
    assert isinstance(model.prior, Prior)
    with pytest.raises(RuntimeError, match=r"prior\.module\.loc"):
        model.load_state_dict(VAE((1, 4, 4)).state_dict())


def test_what_does_not_exist_is_said_by_one_kind_of_error() -> None:
    model = Autoencoder((1, 4, 4))
    assert (model.prior.scored, model.posterior.has_density) == (False, False)
    with pytest.raises(NotApplicable, match="no rate"):
        model.posterior.need_density("a point has no rate")
    with pytest.raises(NotApplicable, match="no bound"):
        model.need_bound("no bound")
    CVAE((1, 4, 4), 3).need_bound("there is one")


def test_the_wrappers_are_no_names_of_the_command_line() -> None:
    assert not [name for slot in ("prior", "likelihood", "posterior") for name in part_names(slot) if "Plain" in name]
