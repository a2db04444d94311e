"""The study: the experiments of the seed documents, run again, and a decision on each of their claims."""

from pyrovae.estimates import Estimate
from pyrovae.studies.seeds.budgets import BUDGETS, Budget, BudgetName, Recipe
from pyrovae.studies.seeds.claims import Claim
from pyrovae.studies.seeds.run import run_study
from pyrovae.studies.seeds.study import Study

__all__ = ["BUDGETS", "Budget", "BudgetName", "Claim", "Estimate", "Recipe", "Study", "run_study"]
