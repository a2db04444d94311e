"""What the tests of diagnostics share: models whose posteriors are known."""

from linear_models import deep, drawn, exact, known, line, many, of_width  # noqa: F401 - fixtures
