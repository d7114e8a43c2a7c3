"""What needs no body: values, files and their definitions, trees as they are written, words from elsewhere."""
