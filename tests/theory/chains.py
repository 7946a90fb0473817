"""What the tests of theory ask of a chain: its smoothing posterior, and samples."""

import numpy as np

from theory.chain import marginals, posterior_kernel


def posterior(log_lik, kernel):
    """[..., T, Z] smoothing posterior p(z_t | a_1..a_T)."""
    return marginals(posterior_kernel(log_lik, kernel))


def sample(kernel, size, rng):
    """[size, T] latent sequences drawn from a kernel [T,Z,Z]."""
    latents = np.zeros((size, len(kernel)), dtype=np.int64)
    before = np.zeros(size, dtype=np.int64)
    for t, rows in enumerate(kernel):
        thresholds = np.cumsum(rows[before], axis=-1)[:, :-1]
        before = (rng.random(size)[:, None] >= thresholds).sum(axis=-1)
        latents[:, t] = before
    return latents
