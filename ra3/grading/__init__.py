"""Problems with their tests, and the one verdict on an answer, for rewards and for evaluation alike."""
