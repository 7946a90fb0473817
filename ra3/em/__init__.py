"""The EM of RA3. A round (`round`) has three acts: the E-step finds latents by reinforcement (`estep`), annotation
writes them in (`annotate`), the M-step imitates the text (`mstep`). A method (`methods`) is a function of a round."""
