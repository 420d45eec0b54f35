"""`python -m selfreward`: the command line, where its script is not on the PATH."""

from selfreward.cli.main import app

if __name__ == "__main__":
    app()
