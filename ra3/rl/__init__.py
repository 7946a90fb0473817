"""Reinforcement: pure formulas of tensors (`advantages`, `losses`), rewards, returns and credit of interleaved rollouts
(`credit`), and the one loop that the E-step, RLVR and every other method share (`loop`)."""
