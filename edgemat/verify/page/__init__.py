"""One HTML page of what was found in an export folder, for people; and the pictures that it shows."""
