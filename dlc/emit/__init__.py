"""What the backends that emit Python source share; framework-free.

python.py    literals, docstrings, comments: text that is safe to stand in source
layout.py    the formatter's line breaks, without the formatter
names.py     checked identifiers, and variable names that are reused as a person would
sizes.py     where a function's dims can be read from the shapes of its inputs
tree.py      expressions as trees with numbers as leaves, rows (templates) as data
body.py      a function's operations as statements: what is nested where it is used, what gets a name
grouping.py  instantiations of one module that differ only in numbers, as one function with parameters
"""
