"""Part 3: graph convolutions, by hand and by matrix."""
import part1  # which lets Ctrl-C end a script that is still loading
