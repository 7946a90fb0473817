"""What a model can act upon while it answers: episodes of several turns, with tools."""

from ra3.environments.tools import Environment

__all__ = ["Environment"]
