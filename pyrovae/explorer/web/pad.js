// A pad to draw on, or to drop an image on, and its pixels as the encoder takes them.

const SIDE = 280; // of the pad's longer side, in its own pixels

export class Pad {
  constructor(canvas, imageShape, changed) {
    [this.channels, this.height, this.width] = imageShape;
    this.canvas = canvas;
    this.changed = changed;
    const unit = SIDE / Math.max(this.height, this.width);
    canvas.width = Math.round(this.width * unit);
    canvas.height = Math.round(this.height * unit);
    this.brush = Math.max(unit, 0.075 * SIDE);
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.inverted = false;
    this.clear();
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { this.last = null; });
  }

  clear() {
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.empty = true;
    this.last = null;
  }

  invert() {
    const image = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    for (let i = 0; i < image.data.length; i++) if (i % 4 !== 3) image.data[i] = 255 - image.data[i];
    this.context.putImageData(image, 0, 0);
    this.changed();
  }

  // A picture in the middle of the pad, as large as it fits.
  show(picture) {
    this.clear();
    const { width, height } = this.canvas;
    const scale = Math.min(width / picture.width, height / picture.height);
    const [w, h] = [picture.width * scale, picture.height * scale];
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
    this.empty = false;
    this.changed();
  }

  // (channels, height, width) from 0 to 1; `centred` moves the centre of mass to the middle, `binary` cuts at one half.
  pixels({ centred, binary }) {
    const small = document.createElement("canvas");
    small.width = this.width;
    small.height = this.height;
    const context = small.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.canvas, 0, 0, this.width, this.height);
    let { data } = context.getImageData(0, 0, this.width, this.height);
    if (centred) {
      const [dx, dy] = this.#offset(data);
      context.fillStyle = "#000";
      context.fillRect(0, 0, this.width, this.height);
      context.drawImage(this.canvas, dx, dy, this.width, this.height);
      ({ data } = context.getImageData(0, 0, this.width, this.height));
    }
    const size = this.width * this.height;
    const found = new Float32Array(this.channels * size);
    for (let c = 0; c < this.channels; c++) {
      for (let i = 0; i < size; i++) {
        const value = this.channels > 2 ? data[4 * i + c] / 255 : grey(data, i);
        found[c * size + i] = binary ? (value >= 0.5 ? 1 : 0) : value;
      }
    }
    return found;
  }

  #offset(data) {
    let [mass, x, y] = [0, 0, 0];
    for (let i = 0; i < this.width * this.height; i++) {
      const value = grey(data, i);
      mass += value;
      x += value * (i % this.width);
      y += value * Math.floor(i / this.width);
    }
    if (mass === 0) return [0, 0];
    return [Math.round((this.width - 1) / 2 - x / mass), Math.round((this.height - 1) / 2 - y / mass)];
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.canvas.width,
      ((event.clientY - box.top) / box.height) * this.canvas.height,
    ];
  }

  #begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.#place(event);
    this.#go(event);
  }

  #go(event) {
    if (!this.last) return;
    const now = this.#place(event);
    const { context } = this;
    context.strokeStyle = "#fff";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = this.brush;
    context.beginPath();
    context.moveTo(...this.last);
    context.lineTo(now[0] + 0.01, now[1]);
    context.stroke();
    this.last = now;
    this.empty = false;
    this.changed();
  }
}

const grey = (data, i) => (0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]) / 255;
