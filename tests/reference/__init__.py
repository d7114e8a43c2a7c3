"""Public implementations of the networks in `specs/`, at small sizes, to compare with."""
