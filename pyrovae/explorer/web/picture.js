// Images of numbers from 0 to 1, (channels, height, width), on a canvas; rows of values as a curve.

export function paint(canvas, pixels, [channels, height, width]) {
  if (height === 1) return paintCurve(canvas, pixels, channels);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const size = height * width;
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = 255 * Math.min(1, Math.max(0, pixels[(channels > 2 ? c : 0) * size + i]));
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function paintCurve(canvas, values, channels) {
  const [width, height] = [240, 160];
  canvas.width = width;
  canvas.height = height;
  canvas.style.imageRendering = "auto"; // a line, and no pixels to be seen
  const context = canvas.getContext("2d");
  const length = values.length / channels;
  const [low, high] = [Math.min(...values, 0), Math.max(...values, 1e-9)];
  for (let c = 0; c < channels; c++) {
    context.strokeStyle = ["#ffffff", "#88ccee", "#ddcc77"][c % 3];
    context.lineWidth = 4;
    context.beginPath();
    for (let i = 0; i < length; i++) {
      const x = 8 + ((width - 16) * i) / Math.max(1, length - 1);
      const y = height - 8 - ((height - 16) * (values[c * length + i] - low)) / (high - low);
      context[i ? "lineTo" : "moveTo"](x, y);
    }
    context.stroke();
  }
}

// One image of the sheet of thumbnails.
export function thumbnail(canvas, sheet, index, { columns, width, height }) {
  canvas.width = width;
  canvas.height = height;
  const [x, y] = [(index % columns) * width, Math.floor(index / columns) * height];
  canvas.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, width, height);
}
