"""Everything a hospital runs: the site engine, its private state, the Flower client."""
