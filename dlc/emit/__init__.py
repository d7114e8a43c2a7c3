"""What the backends that emit Python source share; framework-free. In the order in which a function passes:

python.py, layout.py    literals and comments that are safe in source; the formatter's line breaks
names.py, sizes.py      checked identifiers and variables; where a function's dims can be read
tree.py, sums.py        expressions as trees: leaves that are settled later, rows (templates) as data; sums of whole numbers
checks.py, asked.py     what a model asks of its inputs' sizes, and of its arguments
canonical.py            programs before they are merged: one set of names for sizes of the library, loops from 0
merge.py, rolled.py     functions of several settings as one; loops that were taken apart, whole again (turning.py, widths.py)
outline.py              the body of a loop as a function of its own
settled.py              source that is the same at other settings
requirements.py         what the source asks of a model's static parameters
statements.py           a function's body: assignments, loops, checks, new values of buffers, over trees
draft.py, forms.py      operations as statements, by a backend's dialect: rows, composites, forms
rows.py, steps.py       rows that are alike everywhere; loops over slices
initial.py, roots.py    initial values as the distributions that they are; their numbers as one would write them
nesting.py              what is written where it is read, and what stays a statement
write.py, body.py       which variable a value gets; lines; sizes that are read first
file.py                 imports, copied functions, and the module that a file becomes

`docs/extending.md` says which files a backend has besides.
"""
