"""The second embedded world: word problems about chains of quantities, and a tiny base model that read some."""
