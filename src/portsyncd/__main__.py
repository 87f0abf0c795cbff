"""``python -m portsyncd``."""

from portsyncd.cli.main import main

if __name__ == "__main__":
    main()
