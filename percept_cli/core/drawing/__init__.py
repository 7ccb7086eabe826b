"""Drawing: sheets, plots, HTML pages, files of numbers, and pictures in the terminal."""
