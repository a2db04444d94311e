"""Studies: applications at the top of the house, which nothing imports but their commands."""
