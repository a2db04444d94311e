// Encoder and decoder, run by onnxruntime-web inside of the page.
import { unpack } from "./bytes.js";

export async function openNetworks(facts) {
  const source = new Blob([await unpack("runtime")], { type: "text/javascript" });
  const address = URL.createObjectURL(source);
  const ort = await import(address);
  URL.revokeObjectURL(address);
  ort.env.wasm.wasmBinary = (await unpack("wasm")).buffer;
  ort.env.wasm.numThreads = 1;
  const open = async (name) =>
    facts.networks[name] ? ort.InferenceSession.create(await unpack(name), { executionProviders: ["wasm"] }) : null;
  const decoder = await open("decoder");
  const encoder = await open("encoder");
  const labels = (label, count) =>
    new ort.Tensor("int64", new BigInt64Array(count).fill(BigInt(label)), [count]);
  let busy = Promise.resolve(); // a session takes one batch at a time
  const inTurn = (work) => (busy = busy.then(work, work));

  // Codes, arrays of numbers, to the means of p(x | z, y), a Float32Array each.
  const decode = (codes, label) => inTurn(async () => {
    const z = new ort.Tensor("float32", Float32Array.from(codes.flat()), [codes.length, facts.latentDim]);
    const feeds = facts.conditional ? { z, y: labels(label, codes.length) } : { z };
    const { mean } = await decoder.run(feeds);
    const size = mean.data.length / codes.length;
    return codes.map((_, i) => mean.data.slice(i * size, (i + 1) * size));
  });

  // One image, a Float32Array, to mean and covariance of q(z | x, y).
  const encode = (pixels, label) => inTurn(async () => {
    const x = new ort.Tensor("float32", pixels, [1, ...facts.imageShape]);
    const found = await encoder.run(facts.conditional ? { x, y: labels(label, 1) } : { x });
    const n = facts.latentDim;
    const covariance = found.covariance
      ? Array.from({ length: n }, (_, i) => Array.from(found.covariance.data.slice(i * n, (i + 1) * n)))
      : Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => (i === j ? found.variance.data[i] : 0)));
    return { mean: Array.from(found.mean.data), covariance };
  });

  return { decode, encode: encoder && encode };
}

// Calls `work` with the newest arguments only: those that came while it was busy are passed over but for the last.
export function latest(work) {
  let running = false;
  let next = null;
  return async (...given) => {
    next = given;
    if (running) return;
    running = true;
    try {
      while (next) {
        const now = next;
        next = null;
        await work(...now);
      }
    } finally {
      running = false;
    }
  };
}
