"""A run on a page that follows it: what is there now, found as it is asked for."""
