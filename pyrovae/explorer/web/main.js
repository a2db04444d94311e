// The page: what is chosen, what follows from it, and who is told.
import { unpack, unpackFloats } from "./bytes.js";
import { ellipse, moveTo, project, projectCovariance } from "./linear.js";
import { askKernel } from "./kernel.js";
import { latest, openNetworks } from "./networks.js";
import { Pad } from "./pad.js";
import { paint, thumbnail } from "./picture.js";
import { Plane } from "./plane.js";

const STEPS = 9;
const SAMPLES = 12;
const NEAR = 14; // pixels

const element = (id) => document.getElementById(id);
const facts = JSON.parse(element("facts").textContent);
const n = facts.latentDim;
const number = (value) => value.toFixed(2).replace("-", "−");
const state = {
  z: new Array(n).fill(0), label: 0, mass: 0.5, mode: "decode", way: null, guide: null, truth: null,
  shown: facts.classes.map(() => true), sampled: 0,
};
const choices = [0, 1];
const plane = new Plane(element("plane"));
let codes = [];
let points = [];
let priorDraws = [];
let sheet = null;
let networks = null;

const axes = () => choices.map((choice) => facts.axes[choice].vector);
const theme = () => document.documentElement.dataset.theme;
const colours = () => facts.classes.map((_, k) => facts.colours[theme()][k % facts.colours.light.length]);

function repaint() {
  const isTruePlane = n === 2 && choices[0] === 0 && choices[1] === 1;
  plane.paint({
    axes: axes(), axisNames: choices.map((choice) => facts.axes[choice].name), points, labels: facts.labels,
    colours: colours(), shown: state.shown, classes: facts.classes, gaussians: facts.gaussians, prior: facts.prior,
    mass: state.mass, showCodes: element("show-codes").checked, showPrior: element("show-prior").checked,
    z: state.z, way: state.way, guide: state.guide, truth: isTruePlane ? state.truth : null,
  });
}

const decodeProbe = latest(async (z, label) => {
  if (!networks) return;
  const [pixels] = await networks.decode([z], label);
  paint(element("image"), pixels, facts.imageShape);
});

// Everything that follows from the code and the class.
function moved() {
  repaint();
  decodeProbe(state.z, state.label);
  const shownDims = state.z.slice(0, 6).map((value, i) => `z${i} = ${number(value)}`).join(", ");
  element("code").textContent = `${shownDims}${n > 6 ? ", …" : ""}`;
  const sliders = element("dimensions").querySelectorAll("input");
  sliders.forEach((slider, i) => {
    slider.value = state.z[i];
    slider.nextElementSibling.textContent = number(state.z[i]);
  });
  const nearest = nearestCode(state.z);
  if (nearest >= 0) {
    thumbnail(element("near-image"), sheet, nearest, facts.thumbnails);
    element("near").textContent = `nearest image: ${facts.classes[facts.labels[nearest]]}`;
  }
  const place = project(axes(), state.z);
  element("where").textContent = `code at ${number(place[0])}, ${number(place[1])}`;
}

function nearestCode(z) {
  let [best, where] = [Infinity, -1];
  codes.forEach((code, i) => {
    if (!state.shown[facts.labels[i]]) return;
    let distance = 0;
    for (let k = 0; k < n; k++) distance += (code[k] - z[k]) ** 2;
    if (distance < best) [best, where] = [distance, i];
  });
  return where;
}

function setCode(z) {
  state.z = z;
  moved();
}

function setAxes() {
  points = codes.map((code) => project(axes(), code));
  const outlines = facts.gaussians.flatMap(([, { mean, covariance }]) =>
    ellipse(project(axes(), mean), projectCovariance(axes(), covariance), 0.5, 16));
  plane.fit([...points, ...outlines]);
  moved();
}

async function showWay() {
  const [from, to] = state.way;
  const steps = Array.from({ length: STEPS }, (_, k) => from.map((value, i) => value + (k / (STEPS - 1)) * (to[i] - value)));
  await fillStrip(element("steps"), steps, "step");
  element("way").hidden = false;
}

// A row of decoded codes; a click on one moves there.
async function fillStrip(strip, some, what) {
  const images = await networks.decode(some, state.label);
  strip.replaceChildren(...images.map((pixels, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `${what} ${k + 1}: go to its code`);
    const canvas = document.createElement("canvas");
    paint(canvas, pixels, facts.imageShape);
    button.append(canvas);
    button.addEventListener("click", () => setCode(some[k]));
    return button;
  }));
}

function drawSamples() {
  const ofClass = facts.priorByClass ? priorDraws.filter((_, i) => i % facts.classes.length === state.label) : priorDraws;
  const some = Array.from({ length: SAMPLES }, (_, k) => ofClass[(state.sampled + k) % ofClass.length]);
  state.sampled += SAMPLES;
  return fillStrip(element("samples"), some, "sample");
}

// ---- the plane ----

function eventPlace(event) {
  const box = element("plane").getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function press(event) {
  const target = moveTo(axes(), state.z, plane.toPlane(eventPlace(event)));
  element("tip").hidden = true;
  if (state.mode === "decode") {
    element("plane").setPointerCapture(event.pointerId);
    state.dragging = true;
    setCode(target);
  } else if (!state.way || state.way.length === 2) {
    state.way = [target];
    setCode(target);
    element("where").textContent = "first end set; a second click sets the other";
  } else {
    state.way = [state.way[0], target];
    setCode(target);
    showWay();
  }
}

function hover(event) {
  if (state.dragging) return setCode(moveTo(axes(), state.z, plane.toPlane(eventPlace(event))));
  const place = eventPlace(event);
  let [best, where] = [NEAR ** 2, -1];
  if (element("show-codes").checked) {
    points.forEach((point, i) => {
      if (!state.shown[facts.labels[i]]) return;
      const [x, y] = plane.toScreen(point);
      const distance = (x - place[0]) ** 2 + (y - place[1]) ** 2;
      if (distance < best) [best, where] = [distance, i];
    });
  }
  const tip = element("tip");
  tip.hidden = where < 0 || event.pointerType === "touch";
  if (tip.hidden) return;
  thumbnail(tip.querySelector("canvas"), sheet, where, facts.thumbnails);
  tip.querySelector("span").textContent = facts.classes[facts.labels[where]];
  tip.style.left = `${Math.min(place[0] + 14, element("plane").clientWidth - 96)}px`;
  tip.style.top = `${Math.min(place[1] + 14, element("plane").clientHeight - 110)}px`;
}

function key(event) {
  const step = (event.shiftKey ? 0.2 : 0.04) * plane.half;
  const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (ways[event.key]) {
    const now = project(axes(), state.z);
    setCode(moveTo(axes(), state.z, now.map((value, k) => value + ways[event.key][k])));
  } else if (event.key === "+" || event.key === "=") zoom(0.8);
  else if (event.key === "-") zoom(1.25);
  else if (event.key === "0") setAxes();
  else if (event.key === "Enter" && state.mode === "interpolate") {
    state.way = state.way?.length === 1 ? [state.way[0], state.z] : [state.z];
    if (state.way.length === 2) showWay();
    repaint();
  } else return;
  event.preventDefault();
}

function zoom(factor) {
  plane.zoom(factor);
  repaint();
}

// ---- drawing ----

const encodePad = latest(async (pad) => {
  if (!networks?.encode || pad.empty) return;
  element("hint").hidden = true;
  const pixels = pad.pixels({ centred: element("centre").checked && facts.imageShape[0] === 1, binary: facts.binary });
  const q = await networks.encode(pixels, state.label);
  const [decoded] = await networks.decode([q.mean], state.label);
  paint(element("reconstruction"), decoded, facts.imageShape);
  state.guide = q;
  state.truth = null;
  pressTruth(-1);
  const spread = q.mean.slice(0, 4).map((mean, i) => `z${i} = ${number(mean)} ± ${number(Math.sqrt(q.covariance[i][i]))}`);
  element("posterior").textContent = `q: ${spread.join(", ")}${n > 4 ? ", …" : ""}; ellipses of 50 and 90 % on the plane`;
  setCode(q.mean);
});

function preparePad() {
  const isPicture = facts.imageShape[1] > 1;
  if (!networks.encode || !isPicture) {
    element("no-encoder").textContent = isPicture
      ? `The page has no encoder: ${facts.missing.encoder}.`
      : "Rows of values cannot be drawn by hand: move the code instead.";
    element("no-encoder").hidden = false;
    for (const id of ["pad-pair", "pad-bar"]) element(id).hidden = true;
    return null;
  }
  const pad = new Pad(element("pad"), facts.imageShape, () => encodePad(pad));
  const open = async (file) => {
    if (!file) return;
    try {
      pad.show(await createImageBitmap(file));
    } catch {
      element("posterior").textContent = `${file.name} is no image that this browser can read`;
    }
  };
  element("clear").addEventListener("click", () => {
    pad.clear();
    element("hint").hidden = false;
    state.guide = null;
    element("posterior").textContent = "";
    paint(element("reconstruction"), new Float32Array(facts.imageShape.reduce((a, b) => a * b)), facts.imageShape);
    repaint();
  });
  element("invert").addEventListener("click", () => { pad.empty = false; pad.invert(); });
  element("centre").addEventListener("change", () => encodePad(pad));
  element("file").addEventListener("change", (event) => open(event.target.files[0]));
  element("pad").addEventListener("dragover", (event) => { event.preventDefault(); element("pad").classList.add("over"); });
  element("pad").addEventListener("dragleave", () => element("pad").classList.remove("over"));
  element("pad").addEventListener("drop", (event) => {
    event.preventDefault();
    element("pad").classList.remove("over");
    open(event.dataTransfer.files[0]);
  });
  if (facts.imageShape[0] !== 1) element("centre").parentElement.hidden = true;
  paint(element("reconstruction"), new Float32Array(facts.imageShape.reduce((a, b) => a * b)), facts.imageShape);
  return pad;
}

// ---- true posteriors ----

function pressTruth(chosen) {
  element("truth-images").querySelectorAll("button").forEach((button, k) => button.setAttribute("aria-pressed", k === chosen));
  if (chosen < 0) element("truth-text").textContent = "";
}

async function prepareTruths() {
  if (!facts.truths.length) return;
  const values = await unpack("truths");
  element("truths").hidden = false;
  element("truth-images").replaceChildren(...facts.truths.map((truth, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-label", `posterior of an image of class ${facts.classes[truth.label]}`);
    const canvas = document.createElement("canvas");
    thumbnail(canvas, sheet, truth.image, facts.thumbnails);
    button.append(canvas);
    button.addEventListener("click", () => {
      const { size } = truth;
      const grid = Float32Array.from(values.subarray(k * size * size, (k + 1) * size * size), (v) => v / 255);
      state.truth = { ...truth, values: grid };
      state.guide = truth.guide;
      if (facts.conditional) setLabel(truth.label);
      pressTruth(k);
      element("truth-text").textContent =
        `orange: p(z | x), contours of 50 and 90 %; blue: the guide. KL(q || p) ${number(truth.gap)}, KL(p || q) ${number(truth.reverse)} nats`;
      const [width, height] = [0, 1].map((i) => truth.high[i] - truth.low[i]);
      plane.centre = [0, 1].map((i) => (truth.low[i] + truth.high[i]) / 2);
      plane.half = 0.8 * Math.max(width, height);
      setCode(truth.guide.mean);
    });
    return button;
  }));
}

// ---- controls ----

function setLabel(label) {
  state.label = label;
  element("label").value = label;
  moved();
}

function setMode(mode) {
  state.mode = mode;
  for (const each of ["decode", "interpolate"]) element(`mode-${each}`).setAttribute("aria-pressed", each === mode);
  if (mode === "decode") {
    state.way = null;
    element("way").hidden = true;
  } else element("where").textContent = "click two places of the plane, or press Enter at two";
  repaint();
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  element("theme").textContent = name === "dark" ? "Light" : "Dark";
  paintLegend();
  repaint();
}

function paintLegend() {
  element("legend").querySelectorAll("i").forEach((dot, k) => { dot.style.background = colours()[k]; });
}

function prepareLegend() {
  element("legend").replaceChildren(...facts.classes.map((name, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(document.createElement("i"), name);
    button.addEventListener("click", () => {
      state.shown[k] = !state.shown[k];
      button.setAttribute("aria-pressed", state.shown[k]);
      moved();
    });
    return button;
  }));
}

function prepareAxes() {
  element("axes").hidden = facts.axes.length < 3;
  ["axis-x", "axis-y"].forEach((id, k) => {
    element(id).replaceChildren(...facts.axes.map(({ name }, i) => new Option(name, i)));
    element(id).value = choices[k];
    element(id).addEventListener("change", () => {
      const chosen = Number(element(id).value);
      if (chosen === choices[1 - k]) choices[1 - k] = choices[k]; // an axis is not both: they change places
      choices[k] = chosen;
      ["axis-x", "axis-y"].forEach((other, i) => { element(other).value = choices[i]; });
      setAxes();
    });
  });
}

function prepareDimensions() {
  if (n < 3) return;
  element("dimensions").replaceChildren(...state.z.map((_, i) => {
    const label = document.createElement("label");
    const slider = document.createElement("input");
    const reach = Math.max(3, ...codes.map((code) => Math.abs(code[i])));
    Object.assign(slider, { type: "range", min: -reach, max: reach, step: "any", value: 0 });
    slider.addEventListener("input", () => setCode(state.z.map((value, k) => (k === i ? Number(slider.value) : value))));
    label.append(`z${i}`, slider, document.createElement("output"));
    return label;
  }));
}

function prepareControls() {
  const canvas = element("plane");
  canvas.addEventListener("pointerdown", press);
  canvas.addEventListener("pointermove", hover);
  canvas.addEventListener("pointerleave", () => { element("tip").hidden = true; });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { state.dragging = false; });
  canvas.addEventListener("keydown", key);
  element("closer").addEventListener("click", () => zoom(0.8));
  element("farther").addEventListener("click", () => zoom(1.25));
  element("fit").addEventListener("click", setAxes);
  element("mass").addEventListener("input", () => {
    state.mass = element("mass").value / 100;
    element("mass-value").textContent = `${element("mass").value} %`;
    repaint();
  });
  for (const id of ["show-codes", "show-prior"]) element(id).addEventListener("change", repaint);
  for (const mode of ["decode", "interpolate"]) element(`mode-${mode}`).addEventListener("click", () => setMode(mode));
  element("take").addEventListener("click", () => setCode([...codes[nearestCode(state.z)] ?? state.z]));
  element("theme").addEventListener("click", () => setTheme(theme() === "dark" ? "light" : "dark"));
  element("label").replaceChildren(...facts.classes.map((name, k) => new Option(name, k)));
  element("sample").addEventListener("click", drawSamples);
  new ResizeObserver(repaint).observe(canvas);
}

const rows = (flat) => Array.from({ length: flat.length / n }, (_, i) => Array.from(flat.subarray(i * n, (i + 1) * n)));

async function start() {
  element("about").textContent = facts.about;
  element("footer").textContent = facts.footer;
  document.querySelectorAll(".if-label").forEach((each) => { each.hidden = !facts.conditional; });
  codes = rows(await unpackFloats("codes"));
  priorDraws = rows(await unpackFloats("prior"));
  sheet = await createImageBitmap(new Blob([await unpack("sheet")], { type: "image/png" }));
  prepareLegend();
  prepareAxes();
  prepareDimensions();
  prepareControls();
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  setAxes();
  await prepareTruths();
  networks = facts.kernel ? askKernel(facts) : await openNetworks(facts);
  const pad = preparePad();
  element("label").addEventListener("change", () => {
    setLabel(Number(element("label").value));
    if (state.way?.length === 2) showWay();
    if (pad) encodePad(pad);
    drawSamples();
  });
  element("loading").hidden = true;
  await drawSamples();
  moved();
}

globalThis.explorer = { facts, state, plane, axes, codes: () => codes, networks: () => networks };
function complain(text) {
  element("loading").textContent = text;
  element("loading").classList.add("error");
  element("loading").hidden = false;
}

if (facts.kernel) addEventListener("unhandledrejection", ({ reason }) => complain(`The kernel says: ${reason.message}`));
globalThis.explorer.ready = start().catch((error) => {
  complain(facts.kernel ? `The kernel says: ${error.message}` : `This browser cannot run the page: ${error.message}`);
  throw error;
});
