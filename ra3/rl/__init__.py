"""Reinforcement: pure formulas of tensors (`rewards`, `advantages`, `losses`), the credit of interleaved rollouts
(`credit`), and the one loop that the E-step, RLVR and every other method share (`loop`)."""
