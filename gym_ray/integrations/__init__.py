"""Foreign systems: each module imports its foreign package only when it is used."""
