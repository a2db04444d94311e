"""The posterior of any Pyro program: by Hamiltonian Monte Carlo, from a guide, and what data they predict."""

from pyrovae.engine.posterior.errors import ModelError
from pyrovae.engine.posterior.predictive import predictive
from pyrovae.engine.posterior.sampling import SamplingWarning, nuts

__all__ = ["ModelError", "SamplingWarning", "nuts", "predictive"]
