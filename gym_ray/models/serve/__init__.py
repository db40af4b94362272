"""Our own model deployment: a vLLM engine in each Ray Serve replica, token ids in and out."""
