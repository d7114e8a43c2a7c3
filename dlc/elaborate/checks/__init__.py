"""Whole files: what is wrong with one, its train, weights and test blocks."""
