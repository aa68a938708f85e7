"""``python -m tools.pages``."""

from tools.pages import main

main()
