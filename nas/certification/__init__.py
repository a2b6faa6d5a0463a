"""Train the best again, and open the test set once."""
