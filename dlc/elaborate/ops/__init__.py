"""Ops whose arguments the elaborator reads itself: einops patterns."""
