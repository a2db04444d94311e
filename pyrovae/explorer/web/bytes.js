// What is packed into the page: gzip in base64.

export async function unpack(name) {
  const text = document.getElementById(`blob-${name}`).textContent.trim();
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export async function unpackFloats(name) {
  return new Float32Array((await unpack(name)).buffer);
}
