"""End to end: the whole portal, started as a newcomer starts it."""
