"""Running bodies: expressions, statements, loops."""
