"""The study: everything that the seed documents did, trained, measured, drawn, and held against what they say."""

from pyrovae.estimates import Estimate
from pyrovae.studies.seeds.budgets import BUDGETS, Budget, BudgetName, Recipe
from pyrovae.studies.seeds.claims import Claim
from pyrovae.studies.seeds.run import run_study
from pyrovae.studies.seeds.study import Study

__all__ = ["BUDGETS", "Budget", "BudgetName", "Claim", "Estimate", "Recipe", "Study", "run_study"]
