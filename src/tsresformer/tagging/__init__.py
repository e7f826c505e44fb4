"""Genres into the tags of music files, so that nothing else changes and all can be undone.

`containers` finds the audio in a file without mutagen, `fields` reads and writes one field with
mutagen, `rewrite` joins them to a replacement that is checked before it takes the file's name,
`journal` remembers what undoes it, `cache` what is known already, `library` runs it over a folder.
"""

from typing import Literal, get_args

Policy = Literal["fill", "replace", "append"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
"""Fill only empty fields, replace what is there, or append to it."""
