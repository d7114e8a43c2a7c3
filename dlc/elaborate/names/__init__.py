"""What names mean, static conditions, and the paths of parameters."""
