"""Part 2: a recurrent network that learns to write from a book."""
import part1  # which sets how OpenMP's threads wait
