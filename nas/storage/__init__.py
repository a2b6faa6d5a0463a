"""What stands in the database of studies and beside it."""
