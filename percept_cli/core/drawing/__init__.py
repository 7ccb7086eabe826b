"""What drawn pictures have in common: style, sheets, plots, pages, tables of numbers, the terminal."""
