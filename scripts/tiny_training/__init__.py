"""The parts of ``scripts/train_tiny.py``: dialogues, copying drills, tokenizer and model, learning, trial."""
