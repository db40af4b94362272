"""What is durable while a run goes on: append-only segments, and what they say."""
