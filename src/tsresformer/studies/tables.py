"""."""
def write_tables(r): pass
