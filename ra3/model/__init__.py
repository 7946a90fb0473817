"""Any Hugging Face causal language model as a policy: loading it (`load`), the one forward pass (`policy`) with its
attention (`attention`) and cache (`kv_cache`), what the policy chooses among (`action_spaces`), and one step of
learning (`update`, `lanes`)."""
