"""Exact answers on small worlds, and the theorems of RA3 checked on them. NumPy in float64, no engine inside."""
