"""Beyond backpropagation."""
