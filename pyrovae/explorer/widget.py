"""The explorer as a widget of Jupyter: the page in a frame, and the answers of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor

from pyrovae.contracts import NotApplicable
from pyrovae.export import DecoderNetwork, EncoderNetwork
from pyrovae.models import LatentVariableModel


class Networks:
    """Encoder and decoder of a model on the CPU, called with lists and answering with float32 bytes.

    Attributes:
        missing: Why the encoder is not there, by its name.

    Args:
        model: The model, which nobody else trains.
    """

    def __init__(self, model: LatentVariableModel) -> None:
        self._shapes = model.shapes
        self._decoder = DecoderNetwork(model)
        self.missing: dict[str, str] = {}
        try:
            self._encoder = EncoderNetwork(model)
        except NotApplicable as error:
            self.missing["encoder"] = str(error)

    def decode(self, codes: Sequence[Sequence[float]], label: int) -> Tensor:
        """The means of p(x | z, y) of codes, (B, n): (B, C, H, W)."""
        z = torch.tensor(codes, dtype=torch.float32)
        return self._decoder(z, *self._labels(label, len(z)))[0]

    def encode(self, pixels: Sequence[float], label: int) -> Tensor:
        """Mean and covariance of q(z | x, y) of an image: (n + 1, n), the mean above."""
        x = torch.tensor(pixels, dtype=torch.float32).reshape(1, *self._shapes.image_shape)
        mean, spread = self._encoder(x, *self._labels(label, 1))
        return torch.cat([mean, torch.diag_embed(spread)[0] if spread.ndim == 2 else spread[0]])

    def _labels(self, label: int, count: int) -> tuple[Tensor, ...]:
        return (torch.full((count,), label),) if self._shapes.num_classes else ()

    def answer(self, question: dict[str, Any]) -> bytes:
        """The answer to a question of the page, as float32 numbers.

        Raises:
            ValueError: If it is no question, or its numbers do not fit the model.
        """
        networks: dict[str, tuple[Callable[[Any, int], Tensor], str]] = {
            "decode": (self.decode, "codes"),
            "encode": (self.encode, "pixels"),
        }
        asked = networks.get(str(question.get("what")))
        if asked is None:
            raise ValueError(f"a page asks for decode or encode, got {question.get('what')!r:.80}")
        network, name = asked
        try:
            with torch.no_grad():
                found = network(question[name], int(question["label"]))
        except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError, IndexError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"the numbers of the question do not fit the model: {first}") from error
        return found.float().contiguous().numpy().tobytes()


class Explorer(anywidget.AnyWidget):
    """The explorer of a model in a notebook.

    Args:
        networks: The model's networks.
        page: The HTML of the page.
        height: Height of the frame, pixels.
    """

    _esm = (files("pyrovae.explorer") / "web" / "widget.js").read_text(encoding="utf-8")
    page = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(1000).tag(sync=True)

    def __init__(self, networks: Networks, page: str, height: int) -> None:
        super().__init__(page=page, height=height)
        self._networks = networks
        self.on_msg(self._answer)

    def _answer(self, widget: object, question: Any, buffers: Any) -> None:
        """Send what the page has asked for, or why not."""
        del widget, buffers
        name = question.get("id") if isinstance(question, dict) else None
        try:
            if name is None:
                raise ValueError(f"a question has an id, got {question!r:.80}")
            self.send({"id": name}, [self._networks.answer(question)])
        except ValueError as error:
            self.send({"id": name, "error": str(error)})
