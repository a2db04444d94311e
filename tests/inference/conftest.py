"""What the tests of inference share."""

import pytest
from known_evidence import Known, linear_gaussian
from linear_models import deep, exact, known, line, many, of_width  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def gaussian() -> Known:
    """A linear-Gaussian model with a poor guide, and the exact log p(x) of images."""
    return linear_gaussian()
