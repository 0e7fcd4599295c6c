"""Arrays and frames in, pictures out; no study is imported."""
