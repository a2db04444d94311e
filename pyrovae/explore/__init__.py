"""One HTML file in which a latent space is explored, offline: decoding, drawing, ellipses, true posteriors."""

from pyrovae.explore.page import MOST_BYTES, TooLarge, page

__all__ = ["MOST_BYTES", "TooLarge", "page"]
