"""What the elaboration of a body holds: its scope, what it emits, how errors are told, what it is part of."""
