"""The run folder, the product of every run.

It is made and locked (`folder`), written (`recorder`, with `checkpoints`, `metrics` and `ledger`, on top of `files`),
shown while it grows (`display`), ended in good order (`stopping`), and read from outside (`inspect`). `results` holds
the records of what was measured and the tables made of them; `metrics.toml` says what each metric means.
"""
