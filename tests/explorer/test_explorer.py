"""The explorer in a real browser: what it shows is what torch computes, and it works by mouse, keys and finger."""

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import PROGRAM, Chromium
from made_runs import make_run

from pyrovae.cli.main import main
from pyrovae.contracts import NotApplicable
from pyrovae.data import ImageSet
from pyrovae.explorer import page
from pyrovae.explorer.runtime import runtime_files
from pyrovae.models import VAE
from pyrovae.runs.loading import load, open_run

pytest.importorskip("onnxscript")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs a Chromium"),
]
RUNS = {
    "vae": [],
    "cvae": ["--model", "CVAE"],
    "ten": ["--model.latent_dim", "10"],
    "flow": ["--model.posterior", "Flow", "--model.encoder", "ConvEncoder", "--model.decoder", "ConvDecoder"],
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, digits: ImageSet) -> dict[str, Path]:
    """The page of each run, by the command, beside the run."""
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name, options in RUNS.items():
        run = make_run(folder, digits, "--name", name, *options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["pyrovae", "explore", str(run.path), "--posteriors", "2"])
            main()
        found[name] = run.path / "explore.html"
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def show(browser: Chromium, path: Path, **window: int) -> None:
    """Open a page and wait for its networks."""
    browser.open(path, **window)
    browser.run("explorer.ready")


def quiet(browser: Chromium, path: Path) -> None:
    """No request but for the file itself and what is in it, and nothing on the console."""
    asked = [url for url in browser.requests() if not url.startswith(("blob:null", "blob:file:", "data:"))]
    assert asked == [path.resolve().as_uri()]
    assert browser.complaints() == []


def centre_of(browser: Chromium, name: str, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
    """A place inside of an element, scrolled to, as shares of its sides."""
    browser.run(f"document.getElementById('{name}').scrollIntoView({{block: 'center'}})")
    box = browser.run(f"document.getElementById('{name}').getBoundingClientRect().toJSON()")
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def click(browser: Chromium, name: str, x: float = 0.5, y: float = 0.5) -> None:
    browser.drag(centre_of(browser, name, x, y))


def choose(browser: Chromium, selector: str, value: float, event: str) -> None:
    """Set a control, and say so as the browser would."""
    chosen = f"const control = document.querySelector('{selector}'); control.value = {value}"
    browser.run(f"{{{chosen}; control.dispatchEvent(new Event('{event}'))}}")


def decoded(browser: Chromium, z: list[list[float]], label: int = 0) -> np.ndarray:
    """What the page decodes."""
    script = f"explorer.networks().decode({json.dumps(z)}, {label}).then((all) => all.map((each) => Array.from(each)))"
    return np.array(browser.run(script))


@pytest.mark.parametrize("name", RUNS)
def test_the_pixels_are_those_of_torch(name: str, pages: dict[str, Path], browser: Chromium, digits: ImageSet) -> None:
    path = pages[name]
    assert path.stat().st_size < 8_000_000
    show(browser, path)
    model = load(path.parent)
    n, classes = model.shapes.latent_dim, model.shapes.num_classes
    z, y = torch.randn(6, n, generator=torch.Generator().manual_seed(1)), torch.full((6,), 3 if classes else 0)
    with torch.no_grad():
        expected = model.likelihood(z, y).mean.flatten(1).numpy()
        x = (digits.split("test").images[:1] > 127).float()
        q = model.posterior(x, y[:1])
        mean = q.mean[0].numpy()
    assert np.abs(decoded(browser, z.tolist(), int(y[0])) - expected).max() < 1e-4
    pixels = json.dumps(x.flatten().tolist())
    found = browser.run(f"explorer.networks().encode(Float32Array.from({pixels}), {int(y[0])})")
    assert np.abs(np.array(found["mean"]) - mean).max() < 1e-4
    assert np.linalg.eigvalsh(np.array(found["covariance"])).min() > 0
    quiet(browser, path)


def test_a_drag_decodes_what_is_under_it(pages: dict[str, Path], browser: Chromium) -> None:
    show(browser, pages["vae"])
    places = [centre_of(browser, "plane", x, 0.4) for x in (0.3, 0.4, 0.55, 0.7)]
    browser.drag(*places)
    z = browser.run("explorer.state.z")
    box = browser.run("document.getElementById('plane').getBoundingClientRect().toJSON()")
    place = browser.run("explorer.plane.toScreen(explorer.state.z)")
    assert np.allclose(np.add(place, [box["x"], box["y"]]), places[-1], atol=0.6)
    shown = "Array.from(document.getElementById('image').getContext('2d').getImageData(0, 0, 8, 8).data)"
    browser.run("new Promise((done) => setTimeout(done, 300))")
    painted = np.array(browser.run(shown)).reshape(64, 4)[:, 0]
    assert np.abs(painted - 255 * decoded(browser, [z])[0]).max() <= 1
    assert "nearest image" in browser.run("document.getElementById('near').textContent")
    quiet(browser, pages["vae"])


def test_keys_move_the_code_and_zoom(pages: dict[str, Path], browser: Chromium) -> None:
    show(browser, pages["vae"])
    browser.run("document.getElementById('plane').focus()")
    for key, sign, axis in (("ArrowRight", 1, 0), ("ArrowUp", 1, 1), ("ArrowLeft", -1, 0), ("ArrowDown", -1, 1)):
        before = browser.run("explorer.state.z")
        browser.press(key)
        after = browser.run("explorer.state.z")
        assert sign * (after[axis] - before[axis]) > 0.01
        assert after[1 - axis] == pytest.approx(before[1 - axis])
    half = browser.run("explorer.plane.half")
    browser.press("+")
    assert browser.run("explorer.plane.half") < half
    browser.press("0")
    assert browser.run("explorer.plane.half") == pytest.approx(half)
    quiet(browser, pages["vae"])


def test_ellipses_follow_the_slider_and_hold_their_mass(pages: dict[str, Path], browser: Chromium) -> None:
    show(browser, pages["vae"])
    choose(browser, "#mass", 90, "input")
    assert browser.run("explorer.state.mass") == 0.9
    assert browser.run("document.getElementById('mass-value').textContent") == "90 %"
    count = browser.run("document.querySelectorAll('#legend button').length")
    assert count == 10
    browser.run("document.querySelector('#legend button').click()")
    assert browser.run("explorer.state.shown[0]") is False
    quiet(browser, pages["vae"])


def test_a_drawing_is_encoded(pages: dict[str, Path], browser: Chromium) -> None:
    show(browser, pages["vae"])
    browser.drag(*[centre_of(browser, "pad", 0.5, y) for y in (0.2, 0.4, 0.6, 0.8)])
    browser.run("new Promise((done) => setTimeout(done, 500))")
    text = browser.run("document.getElementById('posterior').textContent")
    assert text.startswith("q: z0 = ")
    guide = browser.run("explorer.state.guide")
    assert browser.run("explorer.state.z") == pytest.approx(guide["mean"])
    click(browser, "clear")
    assert browser.run("explorer.state.guide") is None
    quiet(browser, pages["vae"])


def test_a_dropped_image_is_encoded(pages: dict[str, Path], browser: Chromium, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "seven.png"
    picture = np.zeros((40, 40), np.uint8)
    picture[5:10, 8:32] = picture[5:35, 26:31] = 255
    Image.fromarray(picture).save(path)
    show(browser, pages["vae"])
    data = base64.b64encode(path.read_bytes()).decode()
    browser.run(
        f"""{{const bytes = Uint8Array.from(atob("{data}"), (c) => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], "seven.png", {{type: "image/png"}}));
        const pad = document.getElementById("pad");
        pad.dispatchEvent(new DragEvent("drop", {{dataTransfer: transfer, bubbles: true, cancelable: true}}));}}"""
    )
    browser.run("new Promise((done) => setTimeout(done, 800))")
    assert browser.run("explorer.state.guide") is not None
    quiet(browser, pages["vae"])


def test_two_clicks_interpolate_and_the_prior_is_sampled(pages: dict[str, Path], browser: Chromium) -> None:
    show(browser, pages["vae"])
    click(browser, "mode-interpolate")
    click(browser, "plane", 0.3, 0.3)
    click(browser, "plane", 0.7, 0.6)
    browser.run("new Promise((done) => setTimeout(done, 500))")
    assert browser.run("explorer.state.way.length") == 2
    assert browser.run("document.querySelectorAll('#steps canvas').length") == 9
    assert browser.run("document.querySelectorAll('#samples canvas').length") == 12
    browser.run("document.querySelector('#samples button').click()")
    click(browser, "sample")
    quiet(browser, pages["vae"])


def test_the_true_posterior_beside_the_guide(pages: dict[str, Path], browser: Chromium) -> None:
    show(browser, pages["vae"])
    assert browser.run("document.querySelectorAll('#truth-images button').length") == 2
    browser.run("document.querySelector('#truth-images button').click()")
    assert "KL(q || p)" in browser.run("document.getElementById('truth-text').textContent")
    truth = browser.run("({...explorer.state.truth, values: Array.from(explorer.state.truth.values)})")
    run = open_run(pages["vae"].parent)
    from pyrovae.inference.grid import quadrature_posterior

    grid = quadrature_posterior(run.model, run.split("test").take([truth["image"]]))
    values = np.array(truth["values"]).reshape(96, 96)
    x, y = (np.linspace(truth["low"][k], truth["high"][k], 96) for k in (0, 1))
    mean = [(values.sum(1) * x).sum(), (values.sum(0) * y).sum()] / values.sum()
    assert np.abs(mean - grid.mean[0]).max() < 0.05 * np.sqrt(np.diag(grid.covariance[0]).max()) + 0.01
    quiet(browser, pages["vae"])


def test_labels_of_a_conditional_model(pages: dict[str, Path], browser: Chromium) -> None:
    show(browser, pages["cvae"])
    z = browser.run("explorer.state.z")
    choose(browser, "#label", 7, "change")
    browser.run("new Promise((done) => setTimeout(done, 500))")
    assert browser.run("explorer.state.label") == 7
    painted = "Array.from(document.getElementById('image').getContext('2d').getImageData(0, 0, 8, 8).data)"
    shown = np.array(browser.run(painted)).reshape(64, 4)[:, 0]
    assert np.abs(shown - 255 * decoded(browser, [z], 7)[0]).max() <= 1
    assert np.abs(decoded(browser, [z], 7) - decoded(browser, [z], 1)).max() > 1e-3
    quiet(browser, pages["cvae"])


def test_many_dimensions(pages: dict[str, Path], browser: Chromium) -> None:
    show(browser, pages["ten"])
    assert browser.run("document.querySelectorAll('#dimensions input').length") == 10
    names = browser.run("Array.from(document.getElementById('axis-x').options).map((o) => o.text)")
    assert names == ["PC1", "PC2", "PC3", "PC4", *(f"z{j}" for j in range(10))]
    choose(browser, "#dimensions label:nth-child(5) input", 1.5, "input")
    z = browser.run("explorer.state.z")
    assert z == pytest.approx([0, 0, 0, 0, 1.5, 0, 0, 0, 0, 0])
    choose(browser, "#axis-x", 8, "change")
    click(browser, "plane", 0.7, 0.5)
    after = browser.run("explorer.state.z")
    assert after != pytest.approx(z)
    place = browser.run(
        "explorer.plane.toScreen(explorer.axes().map((a) => a.reduce((s, v, i) => s + v * explorer.state.z[i], 0)))"
    )
    box = browser.run("document.getElementById('plane').getBoundingClientRect().toJSON()")
    assert np.allclose(place, [0.7 * box["width"], 0.5 * box["height"]], atol=0.6)
    click(browser, "take")
    codes = np.array(browser.run("explorer.codes()"))
    assert np.abs(codes - np.array(browser.run("explorer.state.z"))).sum(1).min() < 1e-9
    quiet(browser, pages["ten"])


def test_a_telephone(pages: dict[str, Path], browser: Chromium) -> None:
    """Nothing is wider than 400 pixels, and a finger drags."""
    for name in ("vae", "ten", "cvae"):
        show(browser, pages[name], width=400, height=800)
        assert browser.run("document.documentElement.scrollWidth") <= 400
    browser.touch(centre_of(browser, "plane", 0.4, 0.4), centre_of(browser, "plane", 0.6, 0.5))
    place = browser.run("explorer.plane.toScreen(explorer.state.z)")
    box = browser.run("document.getElementById('plane').getBoundingClientRect().toJSON()")
    assert np.allclose(place, [0.6 * box["width"], 0.5 * box["height"]], atol=1)
    quiet(browser, pages["cvae"])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_both_themes_have_contrast(dark: bool, pages: dict[str, Path], browser: Chromium) -> None:
    show(browser, pages["vae"], dark=dark)
    assert browser.run("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    names = ("ink", "soft", "card", "page", "accent", "accent-ink")
    style = "getComputedStyle(document.documentElement).getPropertyValue"
    colours = {name: browser.run(f"{style}('--{name}').trim()") for name in names}
    for text, ground in (("ink", "card"), ("soft", "card"), ("soft", "page"), ("accent-ink", "accent")):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    click(browser, "theme")
    assert browser.run("document.documentElement.dataset.theme") == ("light" if dark else "dark")
    quiet(browser, pages["vae"])


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as the Web Content Accessibility Guidelines define it."""
    light = []
    for colour in (one, other):
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_the_same_run_gives_the_same_page(digits: ImageSet, tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path, digits).path)
    assert page(run, images=100, posteriors=1) == page(run, images=100, posteriors=1)


def test_a_model_too_large_is_refused(digits: ImageSet, tmp_path: Path, monkeypatch, capsys) -> None:
    run = make_run(tmp_path, digits, "--model.encoder.hidden", "[1000, 1000]")
    monkeypatch.setattr(sys, "argv", ["pyrovae", "explore", str(run.path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert "MB of the page, and beside the runtime there are" in err
    assert f"pyrovae export {run.path}" in err
    one = make_run(tmp_path, digits, "--model.latent_dim", "1")
    monkeypatch.setattr(sys, "argv", ["pyrovae", "explore", str(one.path)])
    with pytest.raises(SystemExit):
        main()
    assert "this run's have one dimension" in capsys.readouterr().err


class Unusual(torch.nn.Module):
    """A network with a step that ONNX has not."""

    out_features = 4

    def __init__(self, network: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        if self.network is None:
            return torch.linalg.eigvals(values.flatten(1)[:, :16].unflatten(1, (4, 4))).real
        size = torch.linalg.eigvals(values.unsqueeze(-1) @ values.unsqueeze(-2)).real.mean()
        return self.network(values, y) + 0 * size


def test_a_page_without_an_encoder_says_why(digits: ImageSet, tmp_path: Path, browser: Chromium) -> None:
    run = open_run(make_run(tmp_path, digits).path, device="cpu")
    path = tmp_path / "half.html"
    half = VAE((1, 8, 8), 2, encoder=lambda shapes: Unusual())
    path.write_text(page(replace(run, model=half.eval()), images=50, posteriors=0))
    show(browser, path)
    text = browser.run("document.getElementById('no-encoder').textContent")
    assert text.startswith("The page has no encoder: torch cannot convert it")
    assert browser.run("document.getElementById('pad-pair').hidden")
    assert np.isfinite(decoded(browser, [[0.5, 0.5]])).all()
    quiet(browser, path)


def test_no_page_without_a_decoder(digits: ImageSet, tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path, digits).path, device="cpu")
    half = VAE((1, 8, 8), 2)
    half.likelihood.decoder = Unusual(half.likelihood.decoder)
    with pytest.raises(NotApplicable, match="the page needs the decoder, which cannot be exported: torch cannot"):
        page(replace(run, model=half.eval()), images=50, posteriors=0)


def test_the_runtime_is_the_one_that_was_packed() -> None:
    found = runtime_files()
    assert found.wasm[:4] == b"\0asm"
    assert "MIT" in found.licence
