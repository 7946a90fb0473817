"""Settings with their bounds and help (`settings`), contradictions (`conflicts`), recipes and flags (`load`), and the
manual that `--help` prints (`help`)."""
