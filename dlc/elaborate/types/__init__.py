"""Types as a spec writes them: of static values, of tensors, of groups."""
