"""Exact inference in a chain of sticky latents: evidence, posterior, and enumeration to check them by.

Shapes: [T] steps, [Z] latents, `...` any leading documents. One latent z_t per step, previous latents in rows:

    log_lik [..., T, Z]     log pi(a_t | s_t, z_t): how likely each latent makes the expert's step
    kernel  [..., T, Z, Z]  probability of z_t (last axis) given z_{t-1}; at the first step only row 0 counts

Any prior or latent policy over such a chain is a kernel, so the same functions serve p, q and the posterior.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray


def sticky_prior(alpha: float, num_latents: int, num_steps: int, keep_first: bool = False) -> Array:
    """[T,Z,Z] p(z_t | z_{t-1}) = alpha 1[z_t = z_{t-1}] + (1 - alpha) / |Z|: RA3 (arXiv 2509.25810).

    The first latent is uniform, or with `keep_first` sticks to latent 0, which then means "no intention yet".
    """
    row = alpha * np.eye(num_latents) + (1 - alpha) / num_latents
    kernel = np.repeat(row[None], num_steps, axis=0)
    if not keep_first:
        kernel[0] = 1 / num_latents
    return kernel


def log(probability: ArrayLike) -> Array:
    """Natural logarithm with log 0 = -inf and no warning."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probability, dtype=np.float64))


def logsumexp(values: Array, axis: int = -1) -> Array:
    """log sum exp along one axis, stable."""
    return np.logaddexp.reduce(values, axis=axis)


def forward(log_lik: Array, kernel: Array) -> Array:
    """[..., T, Z] log alpha_t(z) = log p(a_1..t, z_t = z)

    alpha_t(z) = pi(a_t | z) sum_z' alpha_{t-1}(z') p(z | z')
    """
    log_kernel = log(kernel)
    alphas = [log_kernel[..., 0, 0, :] + log_lik[..., 0, :]]
    for t in range(1, log_lik.shape[-2]):
        alphas.append(logsumexp(alphas[-1][..., :, None] + log_kernel[..., t, :, :], axis=-2) + log_lik[..., t, :])
    return np.stack(alphas, axis=-2)


def backward(log_lik: Array, kernel: Array) -> Array:
    """[..., T, Z] log beta_t(z) = log p(a_{t+1}..a_T | z_t = z), so the last one is 0.

    beta_t(z) = sum_z' p(z' | z) pi(a_{t+1} | z') beta_{t+1}(z')
    """
    log_kernel = log(kernel)
    betas = [np.zeros_like(log_lik[..., -1, :])]
    for t in range(log_lik.shape[-2] - 1, 0, -1):
        ahead = (log_lik[..., t, :] + betas[-1])[..., None, :]
        betas.append(logsumexp(log_kernel[..., t, :, :] + ahead))
    return np.stack(betas[::-1], axis=-2)


def log_evidence(log_lik: Array, kernel: Array) -> Array:
    """[...] log p(a_1..a_T | s), every latent sequence summed out."""
    return logsumexp(forward(log_lik, kernel)[..., -1, :])


def posterior_kernel(log_lik: Array, kernel: Array) -> Array:
    """[..., T, Z, Z] p(z_t | z_{t-1}, a_1..a_T): the latent policy at which the ELBO equals the evidence.

    proportional to p(z_t | z_{t-1}) pi(a_t | z_t) beta_t(z_t); it sees the step a_t and all that follow.
    """
    joint = log(kernel) + (log_lik + backward(log_lik, kernel))[..., None, :]
    return np.exp(joint - logsumexp(joint)[..., None])


def marginals(kernel: Array) -> Array:
    """[..., T, Z] probability of each latent at each step of a chain drawn from `kernel`."""
    mus = [kernel[..., 0, 0, :]]
    for t in range(1, kernel.shape[-3]):
        mus.append(np.einsum("...y,...yz->...z", mus[-1], kernel[..., t, :, :]))
    return np.stack(mus, axis=-2)


def previous_marginals(kernel: Array) -> Array:
    """[..., T, Z] probability of the latent *before* each step; before the first it is latent 0 by convention."""
    before = np.zeros_like(kernel[..., 0, :])
    before[..., 0, 0] = 1
    before[..., 1:, :] = marginals(kernel)[..., :-1, :]
    return before


def every_sequence(num_values: int, num_steps: int) -> Array:
    """[num_values ** T, T] all sequences, of latents or of actions."""
    return np.array(list(itertools.product(range(num_values), repeat=num_steps)), dtype=np.int64)


def log_probability(latents: Array, kernel: Array) -> Array:
    """[N] log probability of each latent sequence [N,T] under a kernel [T,Z,Z]."""
    before = np.concatenate([np.zeros_like(latents[:, :1]), latents[:, :-1]], axis=1)
    return log(kernel[np.arange(len(kernel)), before, latents]).sum(axis=-1)


def log_likelihood(latents: Array, log_lik: Array) -> Array:
    """[N] log pi(a_1..a_T | z_1..z_T) of each latent sequence [N,T], log_lik [T,Z]."""
    return log_lik[np.arange(len(log_lik)), latents].sum(axis=-1)
