"""Calls: arguments and types bound, facts proved, instances made and placed, initial values."""
