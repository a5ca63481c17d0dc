"""The report: its studies, figures, tables and PDF, and the archive to hand in."""
import part1  # which lets Ctrl-C end a script that is still loading
