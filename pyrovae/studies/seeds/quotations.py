"""What each claim is in the words of its document."""

from __future__ import annotations

from typing import NamedTuple


class Quotation(NamedTuple):
    """A passage of a document.

    Attributes:
        document: Number of the document, 1 to 5.
        section: Its section; none of the five has numbered pages.
        words: The passage, verbatim; " … " where words are left out.
    """

    document: int
    section: str
    words: str

    def __str__(self) -> str:
        return f"“{self.words}” ({ORDINALS[self.document - 1]} document, {self.section})"


ORDINALS = ("first", "second", "third", "fourth", "fifth")

_LATENT, _CVAE = "Latent Space", "Conditional VAE"
_VISUAL, _GENERATIVE = "Visualization of latent space", "Variational autoencoders as a generative model"
_LOSS, _ARITHMETIC = "Loss Function", "Latent space arithmetic"
_VAE, _INTERPOLATION = "3. Variational Auto-Encoder", "4. Embedding Space Interpolation"
_ONE, _TWO = "Results, Part 1", "Results, Part 2"

_SHARPER = Quotation(5, _TWO, "increasing the number of dimensions in latent space gives us sharper images")
_KINDS = Quotation(
    2,
    "opening paragraph",
    "various models (undercomplete, sparse, denoising, contractive) which take data as input and"
    " discover some latent state representation of that data",
)
_CONVERGED = Quotation(5, _ONE, "The loss appears to have converged over 50 epochs without any signs of over fitting.")
_SMOOTH = Quotation(
    3,
    "Encoder",
    "the decoder must ensure that all points in the same neighborhood produce very similar images when decoded",
)
_MANY = Quotation(
    5,
    "Conclusion",
    "For a more thorough analysis of the affect of increasing latent … dimensions, it would be "
    "interesting to use a different dataset with many target labels",
)
_EQUALLY_CLOSE = Quotation(
    1,
    _LATENT,
    "Completely random sampling from the prior risks yielding a point equally close to multiple "
    "distributions, rendering its reconstruction ambiguous",
)
_MEANING = Quotation(
    5,
    _ONE,
    'Specific directions in this space have a meaning (e.g. there is a direction for "four-ness", '
    '"one-ness", and so on).',
)
_DIAGONAL = Quotation(
    2,
    "Implementation",
    "we'll make a simplifying assumption that our covariance matrix only has nonzero values on the diagonal",
)
_USEFUL = Quotation(4, _INTERPOLATION, "VAE looks more useful since it can always generate clear result")
_ATTRIBUTES = Quotation(
    3, _ARITHMETIC, "We then add or subtract multiples of a certain vector (e.g., smile, blonde, male, eyeglasses)"
)
_ONLY = Quotation(3, _ARITHMETIC, "different versions of the image, with only the relevant feature changed")

QUOTATIONS: dict[str, tuple[Quotation, ...]] = {
    "1a": (Quotation(1, "Reconstructions", "We do observe an increase in the quality of the reconstruction"), _SHARPER),
    "1b": (Quotation(5, _TWO, "there is not much of a difference between the 10-D and 20-D output"),),
    "1c": (Quotation(1, "Reconstructions", "the images are sharper now for example"), _SHARPER),
    "1d": (Quotation(1, "Reconstructions", "the VAE does not alter the essence of the input"),),
    "1e": (
        Quotation(
            1,
            "Generated Samples",
            "Not only are the results rough for all the VAEs no matter their latent space "
            "dimension, the resulting digits are also ambiguous.",
        ),
    ),
    "2a": (Quotation(1, _LATENT, "each digit resides in a different area compared to the rest"),),
    "2b": (
        Quotation(1, _LATENT, "even though several of these overlap"),
        Quotation(2, _GENERATIVE, "the distinct digits each exist in different regions of the latent space"),
    ),
    "2c": (
        Quotation(1, _LATENT, "each distribution is not close to the prior we set, the standard Gaussian distribution"),
    ),
    "2d": (
        Quotation(
            1, _LATENT, "when we use two different sets of digits to estimate it … As expected, it remains consistent."
        ),
    ),
    "2e": (Quotation(1, _LATENT, "The test latent space … also paints the same picture."),),
    "2f": (
        Quotation(
            1,
            _LATENT,
            "By averaging several of these estimations per digit (i.e. class), we can estimate with some "
            "certainty the distributions of the 10 digits",
        ),
    ),
    "3a": (
        Quotation(
            1,
            _LATENT,
            "even two steps away from the center the resulting digit begins to become some sort of "
            "interpolation between 9 and other digits",
        ),
    ),
    "3b": (Quotation(1, _LATENT, "verify that the distortions are consistent according to the latent space"),),
    "3c": (
        Quotation(
            1,
            _LATENT,
            "on the upper left resides 7, on the right we have 4s and 8s, on the lower left side we have "
            "1s and on the bottom 3s",
        ),
    ),
    "4a": (Quotation(1, _CVAE, "The distributions of the digits in the latent space are indistinguishable"),),
    "4b": (Quotation(1, _CVAE, "truly a standard normal distribution"),),
    "4c": (Quotation(1, _CVAE, "the latent space plays no role in determining the value of the output digit"),),
    "4d": (
        Quotation(
            1,
            _CVAE,
            "as we move from left to right, we can observe that the width of the resulting digit shrinks, "
            "while from bottom to top the tail of the digit rotates",
        ),
    ),
    "4e": (Quotation(1, _CVAE, "the quality of the generated samples is better compared to the plain VAE"),),
    "5a": (
        Quotation(
            4,
            "Verifying reconstructions",
            "make sure that your auto-encoder is able to reconstruct these samples near-perfectly",
        ),
    ),
    "5b": (
        Quotation(
            4,
            "Sampling from the Auto-Encoder",
            "we are sampling from areas of the embedding space that were un-unsed "
            "during encoding and thus the decoder didn't learn how to handle",
        ),
    ),
    "5c": (
        Quotation(2, _VISUAL, "there are areas in latent space which don't represent any of our observed data"),
        Quotation(
            5,
            "Introduction",
            "Due to gaps between the clusters in latent space, the model struggles to produce "
            "alterations of the input.",
        ),
    ),
    "5d": (Quotation(2, _VISUAL, "there's an uneven distribution of data within the latent space"),),
    "5e": (Quotation(4, _INTERPOLATION, "it generates ambiguous image in the middle of interpolations"),),
    "5f": (
        Quotation(4, _INTERPOLATION, "in case of VAE, it shows clear, distinguishable image in the interpolations"),
    ),
    "5g": (Quotation(2, _VISUAL, "we end up describing every observation using the same unit Gaussian"),),
    "6a": (
        Quotation(
            4,
            _VAE,
            "it shows good reconstruction of image. However, when sampled mean and variance is given, it "
            "generates ambiguous images.",
        ),
    ),
    "6b": (
        Quotation(4, _VAE, "blurred unclear images for both reconstruction and sample decoding task"),
        Quotation(4, _VAE, "it shows very similar result for all the different samples"),
    ),
    "6c": (
        Quotation(
            4,
            _VAE,
            "it should generate images which is clear and images like trained images. In addition, each "
            "output from the samples should be different to each other.",
        ),
    ),
    "6d": (Quotation(2, _VISUAL, "encouraging the network to learn broader distributions"),),
    "6e": (
        Quotation(2, _VISUAL, "we're also implicitly enforcing that the learned latent dimensions are uncorrelated"),
    ),
    "6f": (Quotation(4, _VAE, "the model only considers reconstruction loss"),),
    "6g": (Quotation(4, _VAE, "the model gives low weight on reconstruction loss"),),
    "7a": (
        Quotation(
            3,
            _LOSS,
            "We weight the reconstruction loss with a term, r_loss_factor, that ensures that it is well "
            "balanced with the KL divergence loss",
        ),
    ),
    "7b": (
        Quotation(3, _LOSS, "KL divergence loss ensures that sigma value stays close to standard normal distribution"),
        Quotation(5, "Training", "very densely packed near the latent space origin"),
    ),
    "7c": (Quotation(3, _LOSS, "Latent space is locally continuous with no large gaps"),),
    "7d": (Quotation(3, _LOSS, "no digit is given preferential treatment"),),
    "8a": (_ATTRIBUTES,),
    "8b": (_ONLY,),
    "8c": (_ATTRIBUTES,),
    "8d": (_ONLY,),
    "9a": (_CONVERGED,),
    "9b": (_CONVERGED,),
    "10a": (_MANY,),
    "10b": (_MANY,),
    "10c": (_MANY,),
    "11a": (Quotation(1, "Reconstructions", "the output has the same rotation as the input"),),
    "11b": (
        Quotation(1, "Reconstructions", 'the same rotation as the input (compared to a "prototypical" vertical 1)'),
    ),
    "11c": (
        Quotation(
            1,
            "Reconstructions",
            "the other, stylistic modes of deviation each digit displays are sufficiently captured by the",
        ),
    ),
    "12a": (_EQUALLY_CLOSE,),
    "12b": (Quotation(1, _LATENT, "It is for this reason that the generator failed to generate quality examples"),),
    "12c": (_EQUALLY_CLOSE,),
    "13a": (
        Quotation(
            2,
            "Intuition",
            "values which are nearby to one another in latent space should correspond with very similar"
            " reconstructions",
        ),
        _SMOOTH,
    ),
    "13b": (
        Quotation(
            3,
            "Encoder",
            "even if the point (–2, 2) decodes to a well-formed image of a 4, there was no requirement "
            "for (–2.1, 2.1) to look similar",
        ),
    ),
    "13c": (_SMOOTH,),
    "13d": (
        Quotation(
            3,
            "Encoder",
            "a point in the latent space that has never been seen by the decoder, it is likely to decode "
            "to an image that is well formed",
        ),
    ),
    "14a": (_DIAGONAL,),
    "14b": (_DIAGONAL,),
    "14c": (
        Quotation(
            2,
            _VISUAL,
            "the learned latent dimensions are uncorrelated (through our simplifying assumption of a "
            "diagonal covariance matrix)",
        ),
    ),
    "15a": (_USEFUL,),
    "15b": (
        Quotation(
            4,
            "2. Auto-Encoder",
            "learning to add two numbers based on the inferred digits is much easier than "
            "performing the task based on two piles of pixel values",
        ),
    ),
    "15c": (_USEFUL,),
    "15d": (Quotation(4, _INTERPOLATION, "embeddings of similar output in VAE gather more than embeddings of AE"),),
    "16a": (
        _KINDS,
        Quotation(
            5, "Introduction", "Autoencoders have been useful in applications such as removing noise from images"
        ),
    ),
    "16b": (_KINDS,),
    "16c": (_KINDS,),
    "16d": (_KINDS,),
    "17a": (_MEANING,),
    "17b": (_MEANING,),
    "17c": (_MEANING,),
}
"""The passages of each claim, by its number."""
