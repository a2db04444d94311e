"""The best member of the guide's family for each image: the output of an encoder without amortisation error.

References:
    C. Cremer, X. Li and D. Duvenaud, Inference Suboptimality in Variational Autoencoders (2018), arXiv:1801.03558;
    G. Roeder, Y. Wu and D. Duvenaud, Sticking the Landing (2017), arXiv:1703.09194, for the gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrovae.checks import Count, Positive, Seed, Within, checked
from pyrovae.contracts import NotApplicable, Posterior, name_of, unwrapped
from pyrovae.data import Split
from pyrovae.engine import compile_function
from pyrovae.inference.target import Target
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import frozen


class LocalPosterior(Posterior):
    """q(z | x) of given images with free parameters in place of an encoder's output.

    Args:
        posterior: The model's posterior. Its `outputs` are replaced, or the output of its `encoder` if it has no such
            method. All else, such as the transforms of a flow, is shared and unchanged.
        fed: Parameters of the family for each image, as an encoder would feed them, (images, numbers).

    Raises:
        ValueError: If the posterior has neither `outputs` nor an `encoder`.
    """

    fed: Tensor

    def __init__(self, posterior: Posterior, fed: Tensor) -> None:
        super().__init__()
        self.periodic = posterior.periodic
        self.posterior = posterior
        self.register_buffer("fed", fed)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """The posterior of the given images. `x` must be these images."""
        return family(self.posterior, self.fed, x, y)


def fed_by_encoder(posterior: Any, x: Tensor, y: Tensor | None) -> Tensor:
    """The encoder's parameters of the family for these images, (images, numbers).

    Raises:
        ValueError: If the posterior has neither a method `outputs` nor a module `encoder`.
    """
    if hasattr(posterior, "outputs"):
        return posterior.outputs(x, y)
    if isinstance(getattr(posterior, "encoder", None), nn.Module):
        return posterior.encoder(x, y)
    raise NotApplicable(
        f"the best {name_of(posterior)} for an image cannot be sought: a posterior must keep its encoder in the "
        f"attribute encoder, or compute the parameters of its family in a method outputs(x, y)"
    )


def family(posterior: Any, fed: Tensor, x: Tensor, y: Tensor | None) -> Distribution:
    """The posterior's distribution with given parameters instead of its encoder's."""
    posterior = unwrapped(posterior)
    if hasattr(posterior, "outputs"):
        local = copy.copy(posterior)  # shares every tensor; only `outputs` is its own
        local.outputs = lambda *_: fed
        return local(x, y)
    hook = posterior.encoder.register_forward_hook(lambda *_: fed)  # the hook's result replaces the output
    try:
        return posterior(x, y)
    finally:
        hook.remove()


@checked
def fit_local(
    model: LatentVariableModel,
    split: Split,
    *,
    seen: Tensor | None = None,
    steps: Annotated[int, Within(4, 10**7)] = 500,
    particles: Count = 16,
    lr: Positive = 0.05,
    engine: str = "graph",
    seed: Seed = 0,
    progress: Callable[[int], object] = lambda steps: None,
) -> LocalPosterior:
    """Find the q of the guide's family with the highest ELBO for each image, by SVI on the family's parameters.

    It starts from the encoder's output. The gradient leaves out the score of q, whose mean is 0, so it has no noise
    where q is the posterior. Of a flow only the context is free.

    Args:
        model: A model whose guide has a density and reparametrised draws.
        split: Images, uint8 (N, C, H, W), and labels, (N,); binarise it first with `fixed_split`.
        seen: Which pixels are observed, bool (C, H, W) or (N, C, H, W); all by default.
        steps: Steps of Adam.
        particles: Codes per image and step.
        lr: Initial learning rate.
        engine: "graph", "compiled" or "pyro" (eager).
        seed: Seed of the codes.
        progress: Called with the number of steps done since the last call.

    Raises:
        ValueError: If there is no posterior, its family takes no parameters, or an argument is out of range.
    """
    with frozen(model, seed) as device:
        target = Target.of(model, split, device, seen)
        fed = fed_by_encoder(model.posterior, target.filled(), target.y).clone()
        gradient, like = _gradient(model.posterior, target), torch.empty(particles, device=device)
        step = gradient if engine == "pyro" else compile_function(gradient, engine)
        best = _averaged_descent(fed, lambda: step(fed, like), steps, lr, progress)
    return LocalPosterior(model.posterior, best)


def _averaged_descent(
    parameters: Tensor, gradient: Callable[[], Tensor], steps: int, lr: float, progress: Callable[[int], object]
) -> Tensor:
    """Run Adam with a cosine learning rate; return the mean of the parameters over the last quarter of the steps."""
    optimizer = torch.optim.Adam([parameters], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    last = steps - steps // 4
    average = torch.zeros_like(parameters)
    for done in range(steps):
        parameters.grad = gradient()
        optimizer.step()
        schedule.step()
        if done >= last:
            average += parameters / (steps - last)
        progress(1)
    return average


def _gradient(posterior: Posterior, target: Target) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of parameters, (images, numbers), and a tensor `like`: the gradient of the negative ELBO.

    It averages over len(like) codes and leaves out the score of q.
    """

    def gradient(fed: Tensor, like: Tensor) -> Tensor:
        with torch.enable_grad():
            fed = fed.detach().requires_grad_()
            z = family(posterior, fed, target.x, target.y).rsample(torch.Size([len(like)]))
            still = family(posterior, fed.detach(), target.x, target.y)
            loss = (still.log_prob(z) - target.log_joint(z)).mean(0).sum()
            return torch.autograd.grad(loss, fed)[0]

    return gradient
