"""The run folder, the product of every run.

It is made and locked (`folder`), written (`recorder`, with `checkpoints`, `metrics` and `ledger`, on top of `files`),
shown while it grows (`display`, with the words of `glossary`), ended in good order (`interrupts`, `watchdog`), and read
from outside (`inspect`). `results` holds the records of what was measured, `tables` the tables made of them,
`fingerprints` what a run worked on.
"""
