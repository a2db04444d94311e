"""The study: everything that the seed documents did, trained, measured, drawn, and held against what they say."""

from pyrovae.study.budgets import BUDGETS, Budget, BudgetName, Recipe
from pyrovae.study.claims import Claim, Value
from pyrovae.study.conduct import conduct
from pyrovae.study.study import Study

__all__ = ["BUDGETS", "Budget", "BudgetName", "Claim", "Recipe", "Study", "Value", "conduct"]
