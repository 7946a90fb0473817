"""The embedded world: Python functions named through chains of references, and a tiny base model that read some."""
