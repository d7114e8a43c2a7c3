"""Functions and programs: instantiations, parameters and their initial values, models as a whole."""
