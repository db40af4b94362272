"""What a run leaves: rows, shards, metrics and the manifest, all made from the journal."""
