"""Resources servers: tools, per-rollout session state and verification, and the actors that host them."""
