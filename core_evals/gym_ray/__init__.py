"""Our environments as evaluations of NeMo Evaluator (0.2), which finds harnesses in this namespace package."""
