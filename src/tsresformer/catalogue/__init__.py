"""Classify a whole catalogue: files here or in an object store in, Parquet parts out.

The listing of the inputs is frozen first and cut into parts of a fixed number of tracks. A part
is the unit of work: whoever computes it writes its file under a temporary name and renames it, or
puts it into the object store with one request. So a part is there whole or not at all, a part that
is there is never computed again, and killing anything at any time loses one part's work at most.
"""
