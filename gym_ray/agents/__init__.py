"""Agents: the loop between a model and a resources server."""
