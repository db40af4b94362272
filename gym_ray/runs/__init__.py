"""Reading runs: what a run directory says about itself."""
