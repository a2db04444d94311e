"""The widget: the kernel answers what the page asks, in Python, in a notebook, and in a real browser around a stub."""

import base64
import json
import os
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from chromium import PROGRAM, Chromium
from nbclient import NotebookClient

import pyrovae
from pyrovae import CVAE, VAE, likelihoods, posteriors
from pyrovae.contracts import NotApplicable
from pyrovae.data import ImageSet

pytest.importorskip("anywidget")
from pyrovae.explorer.widget import Explorer, Networks

ROOT = Path(__file__).parent.parent.parent
SHAPE = (1, 8, 8)
MODELS = {
    "vae": lambda: VAE(SHAPE, 2),
    "cvae": lambda: CVAE(SHAPE, 10, 3),
    "full": lambda: VAE(SHAPE, 4, posterior=posteriors.FullNormal),
    "flow": lambda: VAE(SHAPE, 2, posterior=posteriors.Flow),
    "logistic": lambda: VAE(SHAPE, 2, likelihood=likelihoods.DiscretizedLogistic),
}


def explored(model: VAE, digits: ImageSet, **settings: object) -> Explorer:
    """A widget of few images, made quickly."""
    return pyrovae.explore(model, digits, **({"count": 60, "posteriors": 0} | settings))


@pytest.mark.parametrize("name", MODELS)
def test_the_kernel_answers_as_torch_does(name: str) -> None:
    torch.manual_seed(1)
    model = MODELS[name]().eval()
    n, y = model.shapes.latent_dim, torch.full((5,), 3) if model.shapes.num_classes else None
    networks, z, x = Networks(model), torch.randn(5, n), torch.rand(1, *SHAPE).round()
    with torch.no_grad():
        expected = model.likelihood(z, y).mean
        q = model.posterior(x, None if y is None else y[:1])
        draws = q.sample((20_000,))[:, 0]
    decoded = np.frombuffer(networks.answer({"what": "decode", "codes": z.tolist(), "label": 3}), np.float32)
    assert np.abs(decoded - expected.flatten().numpy()).max() < 1e-5
    question = {"what": "encode", "pixels": x.flatten().tolist(), "label": 3}
    found = np.frombuffer(networks.answer(question), np.float32).reshape(n + 1, n)
    scale = draws.std(0).numpy()
    assert (np.abs(found[0] - draws.mean(0).numpy()) < 0.2 * scale).all()
    assert (np.abs(found[1:] - np.cov(draws.T.numpy())) < 0.15 * np.outer(scale, scale)).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_wrong_question_has_a_line_for_an_answer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wrong = [None, "x", [], {}, [1, 2], [[1]], [["a", "b"]], -1, 1e400, "decode"]
    names = [name for name in ("what", "codes", "pixels", "label") if rng.random() < 0.8]
    question = {name: wrong[rng.integers(len(wrong))] for name in names}
    if rng.random() < 0.5:
        question["what"] = ("decode", "encode")[rng.integers(2)]
    with pytest.raises(ValueError, match=r"a page asks for|do not fit") as refused:
        Networks(VAE(SHAPE, 2)).answer(question)
    assert "\n" not in str(refused.value)


def test_the_widget_sends_answers_and_complaints(digits: ImageSet, monkeypatch) -> None:
    widget = explored(VAE(SHAPE, 2), digits)
    sent: list = []
    monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append((content, buffers)))
    widget._handle_custom_msg({"id": "a-0", "what": "decode", "codes": [[0.0, 0.0]], "label": 0}, [])
    widget._handle_custom_msg({"id": "a-1", "what": "dance"}, [])
    widget._handle_custom_msg("nonsense", [])
    (first, buffers), (second, _), (third, _) = sent
    assert first == {"id": "a-0"}
    assert len(buffers[0]) == 4 * 64
    assert second["error"].startswith("a page asks for")
    assert "an id" in third["error"]


def test_the_widget_leaves_the_model_alone_and_keeps_it_as_it_was(digits: ImageSet) -> None:
    model = VAE(SHAPE, 2).train()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    widget = explored(model, digits)
    assert model.training
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    question = {"what": "decode", "codes": [[0.5, 0.5]], "label": 0}
    shown = widget._networks.answer(question)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert widget._networks.answer(question) == shown


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "tset"}, "split must be one of"),
        ({"count": 0}, "count must be"),
        ({"height": 5}, "height must be"),
        ({"posteriors": -1}, "posteriors must be"),
        ({"pixels": "grey"}, "pixels must be"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict, message: str, digits: ImageSet) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as refused:
        explored(VAE(SHAPE, 2), digits, **settings)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_explored_is_refused(digits: ImageSet) -> None:
    with pytest.raises(ValueError, match=r"takes images of the shape \(1, 28, 28\), and these have \(1, 8, 8\)"):
        explored(VAE((1, 28, 28), 2), digits)
    with pytest.raises(NotApplicable, match="one dimension"):
        explored(VAE(SHAPE, 1), digits)
    with pytest.raises((ValueError, TypeError), match="images must be"):
        explored(VAE(SHAPE, 2), torch.zeros(3, 1, 8, 8))


def test_without_anywidget_the_extra_is_named(digits: ImageSet, monkeypatch) -> None:
    import pyrovae.explorer.notebook as notebook

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(notebook, "import_module", missing)
    with pytest.raises(ValueError, match=r"pip install 'pyrovae\[widget\]'"):
        explored(VAE(SHAPE, 2), digits)


@pytest.mark.slow
def test_a_notebook_shows_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    cells = [
        "import pyrovae\ndigits = pyrovae.load_images('digits')\nvae = pyrovae.VAE(digits.image_shape, 2)",
        "widget = pyrovae.explore(vae, digits, count=50, posteriors=2)\nwidget",
        "question = {'id': '0', 'what': 'decode', 'codes': [[0, 0]], 'label': 0}\nsent = []\n"
        "widget.send = lambda content, buffers: sent.append((content, len(buffers[0])))\n"
        "widget._handle_custom_msg(question, [])\nprint(sent)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=600, kernel_name="python3")
    client.execute(cwd=str(tmp_path))
    (shown,) = notebook.cells[1].outputs
    view = shown["data"]["application/vnd.jupyter.widget-view+json"]
    state = client.widget_state[view["model_id"]]
    assert state["_model_module"] == "anywidget"
    assert "<canvas" in state["page"]
    assert notebook.cells[2].outputs[0].text.strip() == "[({'id': '0'}, 256)]"


STUB = """<!doctype html><meta charset="utf-8"><body><div id="cell"></div><script type="module">
%(module)s
const state = %(state)s;
const heard = [];
globalThis.questions = [];
globalThis.model = {
  get: (name) => state[name], send: (question) => questions.push(question),
  on: (name, call) => heard.push(call), off: () => {},
};
globalThis.answer = (message, text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  heard.forEach((call) => call(message, message.error ? [] : [new DataView(bytes.buffer)]));
};
globalThis.end = widget.render({ model, el: document.getElementById("cell") });
globalThis.frame = document.querySelector("iframe");
</script>"""


class Notebook:
    """A browser with the front end of a widget, and this process as its kernel."""

    def __init__(self, browser: Chromium, widget: Explorer, path: Path, *, sandboxed: bool) -> None:
        module = str(widget._esm).replace("export default { render };", "const widget = { render };")
        if not sandboxed:  # so that the test sees into the frame
            module = module.replace('frame.setAttribute("sandbox", "allow-scripts");', "")
        state = json.dumps({"page": widget.page, "height": widget.height}).replace("<", "\\u003c")
        path.write_text(STUB % {"module": module, "state": state}, encoding="utf-8")
        self.browser, self.networks, self.asked = browser, widget._networks, []
        browser.open(path, width=1280, height=1050)

    def serve(self, seconds: float = 1.5) -> list[dict]:
        """Answer what is asked for a while; the questions."""
        until, found = time.monotonic() + seconds, []
        while time.monotonic() < until:
            for question in self.browser.run("questions.splice(0)"):
                found.append(question)
                text = base64.b64encode(self.networks.answer(question)).decode()
                self.browser.run(f"answer({json.dumps({'id': question['id']})}, {json.dumps(text)})")
            time.sleep(0.02)
        return found

    def inside(self, script: str) -> object:
        return self.browser.run(f"frame.contentWindow.{script}")


@pytest.fixture
def browser(tmp_path: Path):
    browser = Chromium(tmp_path / "profile")
    yield browser
    browser.close()


in_browser = pytest.mark.skipif(PROGRAM is None, reason="needs a Chromium")


@pytest.mark.slow
@in_browser
def test_the_front_end_shows_what_the_kernel_says(digits: ImageSet, tmp_path: Path, browser: Chromium) -> None:
    torch.manual_seed(0)
    model = CVAE(SHAPE, 10, 2)
    widget = explored(model, digits)
    notebook = Notebook(browser, widget, tmp_path / "page.html", sandboxed=False)
    first = notebook.serve(3)
    assert {question["what"] for question in first} == {"decode"}
    assert max(len(question["codes"]) for question in first) == 12  # samples of the prior
    assert notebook.inside("document.getElementById('loading').hidden") is True

    box = notebook.inside("document.getElementById('plane').getBoundingClientRect().toJSON()")
    at = browser.run("frame.getBoundingClientRect().toJSON()")
    left, top = at["x"] + box["x"], at["y"] + box["y"]
    browser.drag(*[(left + share * box["width"], top + 0.4 * box["height"]) for share in (0.3, 0.5, 0.7)])
    asked = notebook.serve()
    z = notebook.inside("explorer.state.z")
    assert asked[-1]["codes"] == [z]
    image = "frame.contentWindow.document.getElementById('image').getContext('2d').getImageData(0, 0, 8, 8)"
    painted = np.array(browser.run(f"Array.from({image}.data)"))
    with torch.no_grad():
        expected = widget._networks.decode([z], 0).flatten().numpy()
    assert np.abs(painted.reshape(64, 4)[:, 0] - 255 * expected).max() <= 1

    notebook.inside("document.getElementById('pad').scrollIntoView({block: 'center'})")
    box = notebook.inside("document.getElementById('pad').getBoundingClientRect().toJSON()")
    at = browser.run("frame.getBoundingClientRect().toJSON()")
    left, top = at["x"] + box["x"], at["y"] + box["y"]
    browser.drag(*[(left + 0.5 * box["width"], top + share * box["height"]) for share in (0.2, 0.5, 0.8)])
    asked = notebook.serve()
    drawn = [question for question in asked if question["what"] == "encode"]
    assert len(drawn[-1]["pixels"]) == 64
    assert 0 < sum(drawn[-1]["pixels"]) < 64
    answered = np.frombuffer(widget._networks.answer(drawn[-1]), np.float32).reshape(3, 2)
    assert np.allclose(notebook.inside("explorer.state.guide.mean"), answered[0], atol=1e-6)
    assert np.allclose(notebook.inside("explorer.state.guide.covariance"), answered[1:], atol=1e-6)

    browser.run("model.send = ({id}) => answer({id, error: 'the kernel is tired'}, '')")
    notebook.inside("document.getElementById('sample').click()")
    time.sleep(0.5)
    assert "the kernel is tired" in notebook.inside("document.getElementById('loading').textContent")


@pytest.mark.slow
@in_browser
def test_the_frame_is_sealed_and_works(digits: ImageSet, tmp_path: Path, browser: Chromium) -> None:
    notebook = Notebook(browser, explored(VAE(SHAPE, 2), digits), tmp_path / "page.html", sandboxed=True)
    assert notebook.serve(3)
    browser.drag((300, 300), (340, 320))
    moved = notebook.serve()
    assert moved[-1]["what"] == "decode"
    assert browser.run("frame.contentDocument") is None
    assert not [url for url in browser.requests() if url.startswith("http")]
    browser.run("end()")
    assert browser.complaints() == []
