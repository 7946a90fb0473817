"""Where rows come from: interleaved rollouts of documents, sampled latents between forced steps (`interleave`,
`cursor`), and free completions of prompts (`generate`), both over one batch of decoded rows (`decoding`); completions
as programs that the sandbox judges (`programs`)."""
