"""Formulas as MathML, which browsers draw themselves: no script, no fonts and no request to another host."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)
SIZES = re.compile(r"\\[bB]igg?(?![a-zA-Z])")
"""Commands of LaTeX that make a delimiter larger, which the converter does not know: MathML stretches by itself."""
FUNCTIONS = re.compile(r"\\(log|max|min|det)(?![a-zA-Z])(?!\s*[({_^])")
"""Functions without brackets, which browsers set without a space behind them."""


def _mathml(node: nodes.math | nodes.math_block, *, as_block: bool) -> str:
    try:
        text = FUNCTIONS.sub(r"\\\1\\,", SIZES.sub("", node.astext()))
        return tex2mathml(text, as_block=as_block)
    except MathError as error:
        logger.warning("%s, in %s", error, node.astext(), location=node)
        return ""


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math notranslate">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
