"""Who is told what about the items of attention, and in which words. Pure rules."""
