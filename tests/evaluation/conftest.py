"""What the tests of evaluation share."""

import pytest
from known_evidence import Known, linear_gaussian


@pytest.fixture(scope="session")
def known() -> Known:
    """A linear-Gaussian model with a poor guide, and the exact log p(x) of images."""
    return linear_gaussian()
