"""A run as a page for people: what is on it, for the file of ``report`` and for the server of ``view`` alike."""
