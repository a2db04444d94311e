// The little linear algebra of planes and ellipses; matrices are arrays of rows.

export const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

export const project = (axes, z) => axes.map((axis) => dot(axis, z));

// axes · covariance · axesᵀ
export function projectCovariance(axes, covariance) {
  const half = axes.map((axis) => covariance.map((row) => dot(row, axis)));
  return half.map((row) => axes.map((axis) => dot(row, axis)));
}

// The code nearest to z whose projection is `target`: z moves inside of the plane alone.
export function moveTo(axes, z, target) {
  const now = project(axes, z);
  const [[a, b], [, d]] = axes.map((one) => axes.map((other) => dot(one, other)));
  const [u, v] = [target[0] - now[0], target[1] - now[1]];
  const determinant = a * d - b * b;
  const [s, t] = [(d * u - b * v) / determinant, (a * v - b * u) / determinant];
  return z.map((value, i) => value + s * axes[0][i] + t * axes[1][i]);
}

// Points on the ellipse that holds a share `mass` of a Gaussian in the plane.
export function ellipse(mean, covariance, mass, steps = 72) {
  const [[a, b], [, d]] = covariance;
  const radius = Math.sqrt(-2 * Math.log1p(-mass));
  const l11 = Math.sqrt(Math.max(a, 0));
  const l21 = l11 > 0 ? b / l11 : 0;
  const l22 = Math.sqrt(Math.max(d - l21 * l21, 0));
  return Array.from({ length: steps }, (_, k) => {
    const angle = (2 * Math.PI * k) / steps;
    const [c, s] = [radius * Math.cos(angle), radius * Math.sin(angle)];
    return [mean[0] + l11 * c, mean[1] + l21 * c + l22 * s];
  });
}

// Line segments of the level set of values on a grid, [[x, y], [x, y]] in units of cells (marching squares).
export function contour(values, size, level) {
  const at = (i, j) => values[i * size + j] - level;
  const segments = [];
  for (let i = 0; i + 1 < size; i++) {
    for (let j = 0; j + 1 < size; j++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
      const crossings = [];
      for (let k = 0; k < 4; k++) {
        const [one, other] = [corners[k], corners[(k + 1) % 4]];
        const [f, g] = [at(...one), at(...other)];
        if (f > 0 !== g > 0) {
          const share = f / (f - g);
          crossings.push([one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])]);
        }
      }
      for (let k = 0; k + 1 < crossings.length; k += 2) segments.push([crossings[k], crossings[k + 1]]);
    }
  }
  return segments;
}
