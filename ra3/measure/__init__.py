"""Measuring models: pass@k on problems (`pass_at_k`), likelihood and latents on held-out text (`heldout`), whether the
code follows a latent (`counterfactuals`), what latents are about (`latent_index`), and the statistics of all of it."""
