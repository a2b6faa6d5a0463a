"""What is trained, as plain data, and what it may cost."""
