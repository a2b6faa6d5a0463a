"""A user's file becomes candidates."""
