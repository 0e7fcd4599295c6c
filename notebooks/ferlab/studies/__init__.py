"""One module a page, named after it: what its notebook computes."""
