"""`python -m evaluation` became `selfreward report`: for one release the old line answers with the new one."""

import sys

if __name__ == "__main__":
    print(
        "`python -m evaluation` is now: python -m selfreward report RUN [--artifacts ROOT] [--out FOLDER]",
        file=sys.stderr,
    )
    sys.exit(2)
