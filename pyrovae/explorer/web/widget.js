// The page in a notebook: a frame of its own, whose questions go to the kernel.

function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = "explorer of a latent space";
  frame.style.cssText = `width: 100%; height: ${model.get("height")}px; border: 0; border-radius: 8px;`;
  const ask = ({ source, data }) => {
    if (source === frame.contentWindow) model.send(data);
  };
  const answer = (message, buffers) => {
    const bytes = buffers?.[0]; // a DataView
    const values = bytes && new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    frame.contentWindow?.postMessage({ ...message, values }, "*");
  };
  addEventListener("message", ask);
  model.on("msg:custom", answer);
  frame.srcdoc = model.get("page");
  el.append(frame);
  return () => {
    removeEventListener("message", ask);
    model.off("msg:custom", answer);
  };
}

export default { render };
