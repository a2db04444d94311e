// Encoder and decoder in the kernel of a notebook: questions go to the widget around the page, and answers come back.

export function askKernel(facts) {
  const own = Math.random().toString(36).slice(2); // several pages may hear the answers of one kernel
  const waiting = new Map();
  let asked = 0;
  addEventListener("message", ({ source, data }) => {
    const asker = source === parent && waiting.get(data?.id);
    if (!asker) return;
    waiting.delete(data.id);
    if (data.error) asker.fail(new Error(data.error));
    else asker.finish(data);
  });
  const ask = (question) => new Promise((finish, fail) => {
    const id = `${own}-${asked++}`;
    waiting.set(id, { finish, fail });
    parent.postMessage({ id, ...question }, "*");
  });

  // Codes, arrays of numbers, to the means of p(x | z, y), a Float32Array each.
  const decode = async (codes, label) => {
    const { values } = await ask({ what: "decode", codes, label });
    const size = values.length / codes.length;
    return codes.map((_, i) => values.slice(i * size, (i + 1) * size));
  };

  // One image, a Float32Array, to mean and covariance of q(z | x, y).
  const encode = async (pixels, label) => {
    const { values } = await ask({ what: "encode", pixels: Array.from(pixels), label });
    const n = facts.latentDim;
    const rows = Array.from({ length: n + 1 }, (_, i) => Array.from(values.slice(i * n, (i + 1) * n)));
    return { mean: rows[0], covariance: rows.slice(1) };
  };

  return { decode, encode: facts.networks.encoder && encode };
}
