"""The scale simulation (``scripts/scale``): the real control code, fed by simulated workers, replicas and disks."""
