"""The embedded policy: a small Qwen3-architecture model with its tokenizer and chat template (see `weights/`)."""
