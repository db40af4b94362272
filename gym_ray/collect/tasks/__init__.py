"""From task files to a plan: read, route, check and number every task before the first rollout."""
