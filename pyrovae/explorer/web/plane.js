// The drawn plane: where a point of it is on the screen, and all that is painted there.
import { contour, ellipse, project, projectCovariance } from "./linear.js";

// A density as an image whose opacity it is, upwards.
function density(values, size, colour) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  const image = context.createImageData(size, size);
  const parts = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      image.data.set([...parts, 150 * values[i * size + j]], 4 * ((size - 1 - j) * size + i));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

export class Plane {
  constructor(canvas) {
    this.canvas = canvas;
    this.centre = [0, 0];
    this.half = 4; // half of the side that is seen, in units of the code
  }

  // Shows all points; both axes have the same unit.
  fit(points) {
    const ranges = [0, 1].map((k) => points.reduce(([low, high], p) => [Math.min(low, p[k]), Math.max(high, p[k])], [-1, 1]));
    this.centre = ranges.map(([low, high]) => (low + high) / 2);
    this.half = 0.53 * Math.max(...ranges.map(([low, high]) => high - low));
  }

  zoom(factor) {
    this.half = Math.min(1e4, Math.max(1e-3, this.half * factor));
  }

  // CSS pixels in a unit of the code.
  get scale() {
    return Math.min(this.canvas.clientWidth, this.canvas.clientHeight) / (2 * this.half);
  }

  toScreen([x, y]) {
    return [
      this.canvas.clientWidth / 2 + (x - this.centre[0]) * this.scale,
      this.canvas.clientHeight / 2 - (y - this.centre[1]) * this.scale,
    ];
  }

  toPlane([x, y]) {
    return [
      this.centre[0] + (x - this.canvas.clientWidth / 2) / this.scale,
      this.centre[1] - (y - this.canvas.clientHeight / 2) / this.scale,
    ];
  }

  paint(scene) {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(`--${name}`).trim();
    this.#grid(context, width, height, colour, scene.axisNames);
    const ground = scene.truth ? 0.3 : 1; // what else is there steps back behind a true posterior
    context.globalAlpha = ground;
    if (scene.showCodes) this.#codes(context, scene, 0.7 * ground);
    context.globalAlpha = ground;
    if (scene.showPrior && scene.mass > 0) {
      context.setLineDash([6, 5]);
      this.#outline(context, scene.axes, scene.prior, scene.mass, colour("soft"), 1.5);
      context.setLineDash([]);
    }
    if (scene.mass > 0) this.#classes(context, scene, colour);
    context.globalAlpha = 1;
    if (scene.truth) this.#truth(context, scene.truth, colour);
    if (scene.guide) {
      for (const mass of [0.5, 0.9]) this.#outline(context, scene.axes, scene.guide, mass, colour("accent"), 2.5);
    }
    this.#probe(context, project(scene.axes, scene.z), colour);
    if (scene.way) this.#way(context, scene, colour);
  }

  #grid(context, width, height, colour, names) {
    const raw = (2 * this.half) / 6;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((s) => s * power >= raw);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    context.font = "12px system-ui, sans-serif";
    context.lineWidth = 1;
    const [low, high] = [this.toPlane([0, height]), this.toPlane([width, 0])];
    for (const k of [0, 1]) {
      for (let n = Math.ceil(low[k] / step); n * step <= high[k]; n++) {
        const [x, y] = this.toScreen(k ? [0, n * step] : [n * step, 0]);
        context.strokeStyle = n === 0 ? colour("line") : colour("grid");
        context.beginPath();
        context.moveTo(k ? 0 : x, k ? y : 0);
        context.lineTo(k ? width : x, k ? y : height);
        context.stroke();
        context.fillStyle = colour("soft");
        const text = (n * step).toFixed(digits).replace("-", "−");
        context.textAlign = k ? "left" : "center";
        if (k ? y > 40 : x > 20) context.fillText(text, k ? 4 : x, k ? y - 3 : height - 5);
      }
    }
    context.fillStyle = colour("ink");
    context.textAlign = "right";
    context.fillText(`${names[0]} →`, width - 6, height - 20);
    context.textAlign = "left";
    context.fillText(`↑ ${names[1]}`, 6, 15);
  }

  #codes(context, { points, labels, colours, shown }, opacity) {
    const radius = points.length > 1500 ? 2.2 : 2.8;
    context.globalAlpha = opacity;
    points.forEach((point, i) => {
      if (!shown[labels[i]]) return;
      const [x, y] = this.toScreen(point);
      context.fillStyle = colours[labels[i]];
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fill();
    });
  }

  #classes(context, scene, colour) {
    for (const [label, gaussian] of scene.gaussians) {
      if (!scene.shown[label]) continue;
      this.#outline(context, scene.axes, gaussian, scene.mass, scene.colours[label], 2.2);
    }
    context.font = "bold 13px system-ui, sans-serif";
    context.textAlign = "center";
    context.lineWidth = 4;
    for (const [label, gaussian] of scene.gaussians) {
      if (!scene.shown[label]) continue;
      const [x, y] = this.toScreen(project(scene.axes, gaussian.mean));
      const name = scene.classes[label].slice(0, 14);
      context.strokeStyle = colour("plane");
      context.strokeText(name, x, y + 4);
      context.fillStyle = colour("ink");
      context.fillText(name, x, y + 4);
    }
  }

  #outline(context, axes, { mean, covariance }, mass, stroke, width) {
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.beginPath();
    for (const point of ellipse(project(axes, mean), projectCovariance(axes, covariance), mass)) context.lineTo(...this.toScreen(point));
    context.closePath();
    context.stroke();
  }

  #truth(context, truth, colour) {
    const { low, high, size, values, levels } = truth;
    const place = ([i, j]) => this.toScreen([
      low[0] + (i / (size - 1)) * (high[0] - low[0]),
      low[1] + (j / (size - 1)) * (high[1] - low[1]),
    ]);
    const [left, bottom] = place([0, 0]);
    const [right, top] = place([size - 1, size - 1]);
    context.drawImage(density(values, size, colour("focus")), left, top, right - left, bottom - top);
    context.strokeStyle = colour("focus");
    context.lineWidth = 1.8;
    context.beginPath();
    for (const level of levels) {
      for (const [from, to] of contour(values, size, level)) {
        context.moveTo(...place(from));
        context.lineTo(...place(to));
      }
    }
    context.stroke();
  }

  #way(context, { axes, way }, colour) {
    const ends = way.map((z) => this.toScreen(project(axes, z)));
    context.strokeStyle = context.fillStyle = colour("accent");
    context.lineWidth = 2.5;
    context.beginPath();
    ends.forEach((end) => context.lineTo(...end));
    context.stroke();
    ends.forEach(([x, y], k) => {
      context.beginPath();
      context.arc(x, y, 9, 0, 7);
      context.fill();
      context.fillStyle = colour("accent-ink");
      context.font = "bold 11px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillText("AB"[k], x, y + 4);
      context.fillStyle = colour("accent");
    });
  }

  #probe(context, point, colour) {
    const [x, y] = this.toScreen(point);
    for (const [stroke, width] of [[colour("plane"), 6], [colour("ink"), 2.5]]) {
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, 9, 0, 7);
      context.moveTo(x - 15, y);
      context.lineTo(x - 5, y);
      context.moveTo(x + 5, y);
      context.lineTo(x + 15, y);
      context.moveTo(x, y - 15);
      context.lineTo(x, y - 5);
      context.moveTo(x, y + 5);
      context.lineTo(x, y + 15);
      context.stroke();
    }
  }
}
