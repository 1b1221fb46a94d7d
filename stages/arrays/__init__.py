"""Selection on one's own arrays: what ``adaptinf select`` reads, does, writes and explains."""
