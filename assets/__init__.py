"""The built-in text, and the course's books once they are downloaded."""
import part1  # which lets Ctrl-C end a script that is still loading
