"""Text as the policy meets it: documents of a corpus and the tables they come in (`documents`, `tables`), their steps
and where a comment changes nothing (`steps`), latents as comments in text and as tokens in ids (`latents`)."""
