"""Studies: grids of trainings that answer a question, with tables, pictures and comparisons."""
