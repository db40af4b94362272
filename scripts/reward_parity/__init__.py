"""Do our native environments give the rewards that NeMo Gym recorded for the same answers?

Its servers ship a few rollouts each, with rewards (``data/example_rollouts.jsonl``). Ours that share a server's rows
name its agent among their aliases; that is how the two are brought together. Nothing of NeMo Gym is imported.
"""
