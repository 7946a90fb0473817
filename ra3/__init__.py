"""ra3: mid-training with reinforcement learning. A language model learns to plan in comments, from expert text alone.

After "Learning to Reason as Action Abstractions with Scalable Mid-Training RL" (arXiv 2509.25810). To read the
code, start with ra3/midtrain.py, the algorithm. tests/test_structure.py lists the modules, each built on those before.
"""

__version__ = "0.1.0"
