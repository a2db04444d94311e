"""A latent space to explore, in one HTML file, offline, or in a notebook: decoding, drawing, ellipses, posteriors."""

from pyrovae.explorer.notebook import explore
from pyrovae.explorer.page import MOST_BYTES, TooLarge, page

__all__ = ["MOST_BYTES", "TooLarge", "explore", "page"]
