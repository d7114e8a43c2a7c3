"""Errors of elaboration, and how they are told."""
