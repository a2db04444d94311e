"""Images from a model whose evidence and posterior are known exactly: what every estimator is held to.

    z ~ Normal(0, I)                  (latent_dim,)
    x ~ Normal(W z + b, scale² I)     (D,), shown as an image of D = C·H·W pixels

so that with the singular values s and the left and right singular vectors U, V of W

    p(x)   = Normal(b, W Wᵀ + scale² I)
    p(z|x) = Normal(V diag(s / (s² + scale²)) Uᵀ (x - b),  V diag(scale² / (s² + scale²)) Vᵀ)

In the basis of the singular vectors nothing is inverted and nothing cancels, however small the scale.

References:
    Tipping and Bishop, "Probabilistic principal component analysis", J. R. Statist. Soc. B 61, 1999.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.shapes import ImageShape


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """Probabilistic PCA, a linear decoder with Gaussian noise.

    Its pixels are real numbers and not grey values: they lie in [0, 1] only by chance.

    Args:
        weight: W, (D, latent_dim), with latent_dim at most D; its type and device are those of the samples.
        offset: b, (D,).
        scale: Standard deviation of the noise of each pixel, above 0.
        image_shape: Channels, height and width, (C, H, W), with C·H·W = D.

    Raises:
        ValueError: If the shapes do not fit together, or the scale is not above 0.

    Example:
        >>> model = LinearGaussian.random((1, 4, 4), latent_dim=2, generator=torch.Generator().manual_seed(0))
        >>> x = model.sample(5, torch.Generator().manual_seed(1))
        >>> x.shape, model.log_evidence(x).shape
        (torch.Size([5, 1, 4, 4]), torch.Size([5]))
    """

    weight: Tensor
    offset: Tensor
    scale: float
    image_shape: ImageShape

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.weight.shape[1] > self.weight.shape[0]:
            raise ValueError(
                f"weight must have the shape (pixels, latent_dim), latent_dim no more than pixels, "
                f"got {tuple(self.weight.shape)}"
            )
        pixels = len(self.weight)
        if self.offset.shape != (pixels,):
            raise ValueError(f"offset must have the shape ({pixels},), got {tuple(self.offset.shape)}")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale must be a standard deviation above 0, got {self.scale}")
        if len(self.image_shape) != 3 or math.prod(self.image_shape) != pixels:
            raise ValueError(f"image_shape must be (C, H, W) with {pixels} pixels in all, got {self.image_shape}")

    @classmethod
    def random(
        cls,
        image_shape: ImageShape,
        latent_dim: int,
        scale: float = 0.1,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> "LinearGaussian":
        """Draws a model whose pixels have a variance of about 1 from the code, and offsets of Normal(0, 1).

        Args:
            image_shape: Channels, height and width, (C, H, W).
            latent_dim: Number of dimensions of the code.
            scale: Standard deviation of the noise of each pixel.
            generator: Where the numbers come from, on the CPU.
            dtype: Type of the samples.

        Returns:
            The model, on the CPU.

        Raises:
            ValueError: If there are more latent dimensions than pixels, or the scale is not above 0.
        """
        pixels = math.prod(image_shape)
        weight = torch.randn(pixels, latent_dim, generator=generator, dtype=dtype) / math.sqrt(latent_dim)
        return cls(weight, torch.randn(pixels, generator=generator, dtype=dtype), scale, image_shape)

    @property
    def latent_dim(self) -> int:
        """Number of dimensions of the code z."""
        return self.weight.shape[1]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws images.

        Args:
            count: How many, N.
            generator: Where the numbers come from, on the device of the weight.

        Returns:
            x, (N, C, H, W).
        """

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=self.weight.dtype, device=self.weight.device)

        mean = normal(count, self.latent_dim) @ self.weight.T + self.offset
        return (mean + self.scale * normal(*mean.shape)).reshape(count, *self.image_shape)

    def log_evidence(self, x: Tensor) -> Tensor:
        """Returns log p(x) of each image, exact to rounding, in nats.

        Args:
            x: Images, (N, C, H, W) or (N, D).

        Returns:
            float64 (N,).
        """
        u, s, _ = self._svd()
        residual = self._residual(x)
        along = residual @ u
        across = residual - along @ u.T
        variance = s.square() + self.scale**2
        distance = (along.square() / variance).sum(-1) + across.square().sum(-1) / self.scale**2
        num_pixels, latent_dim = self.weight.shape
        log_det = variance.log().sum() + 2 * (num_pixels - latent_dim) * math.log(self.scale)
        return -0.5 * (distance + log_det + num_pixels * math.log(2 * math.pi))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the exact posterior p(z | x), which is Normal.

        Args:
            x: Images, (N, C, H, W) or (N, D).

        Returns:
            Its means, float64 (N, latent_dim), and the covariance that all of them share, float64
            (latent_dim, latent_dim).
        """
        u, s, vh = self._svd()
        variance = s.square() + self.scale**2
        mean = (self._residual(x) @ u * (s / variance)) @ vh
        return mean, (vh.T * (self.scale**2 / variance)) @ vh

    def log_evidence_of_seen(self, x: Tensor) -> Tensor:
        """Returns log p(x_seen) of each image, exact to rounding, in nats.

        Args:
            x: Images, (N, C, H, W) or (N, D), NaN where a value is missing.

        Returns:
            float64 (N,); 0 where nothing is seen.
        """
        rows = self._residual(x)
        covariance = self._covariance()
        found = []
        for row in rows:
            seen = ~row.isnan()
            zero = torch.zeros(int(seen.sum()), dtype=torch.float64)
            normal = torch.distributions.MultivariateNormal(zero, covariance[seen][:, seen]) if len(zero) else None
            found.append(torch.zeros((), dtype=torch.float64) if normal is None else normal.log_prob(row[seen]))
        return torch.stack(found)

    def completion(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the moments of p(x_missing | x_seen), which is Normal.

        Args:
            x: Images, (N, C, H, W) or (N, D), NaN where a value is missing.

        Returns:
            Means and standard deviations, float64 (N, D); what is seen, and 0, where a value is seen.
        """
        rows, covariance = self._residual(x), self._covariance()
        means, scales = rows.clone(), torch.zeros_like(rows)
        for row, mean, scale in zip(rows, means, scales, strict=True):
            missing = row.isnan()
            across = covariance[missing][:, ~missing] @ torch.linalg.inv(covariance[~missing][:, ~missing])
            mean[missing] = across @ row[~missing]
            own = covariance[missing][:, missing] - across @ covariance[~missing][:, missing]
            scale[missing] = own.diagonal().sqrt()
        return means + self.offset.double(), scales

    def _covariance(self) -> Tensor:
        weight = self.weight.double()
        return weight @ weight.T + self.scale**2 * torch.eye(len(weight), dtype=torch.float64)

    def _svd(self) -> tuple[Tensor, Tensor, Tensor]:
        u, s, vh = torch.linalg.svd(self.weight.double(), full_matrices=False)
        return u, s, vh

    def _residual(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), len(self.offset)).double() - self.offset.double()
