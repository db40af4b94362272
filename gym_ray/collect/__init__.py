"""Collection: from tasks to durable, scored rollouts, exactly once."""
