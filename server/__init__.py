"""Everything the coordinator runs: the federation loop, what it believes of replies, its checkpoint."""
