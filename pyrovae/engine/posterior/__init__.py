"""The posterior of any Pyro program: by Hamiltonian Monte Carlo, from a guide, and what data they predict."""

from pyrovae.engine.posterior.checking import Check, check
from pyrovae.engine.posterior.errors import ModelError
from pyrovae.engine.posterior.guides import guide_draws
from pyrovae.engine.posterior.replay import predictive
from pyrovae.engine.posterior.sampling import SamplingWarning, nuts

__all__ = ["Check", "ModelError", "SamplingWarning", "check", "guide_draws", "nuts", "predictive"]
