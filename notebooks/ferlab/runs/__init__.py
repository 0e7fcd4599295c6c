"""Records, the runner, freshness, the grid and the command line; no study is imported."""
