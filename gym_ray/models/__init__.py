"""Models: whatever answers a Responses-API request, a vLLM deployment on Ray Serve or a remote endpoint."""
