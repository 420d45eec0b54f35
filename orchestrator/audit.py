"""`python -m orchestrator.audit` became `selfreward audit`: for one release the old line answers with the new one."""

import sys

if __name__ == "__main__":
    print("`python -m orchestrator.audit` is now: python -m selfreward audit RUN [--artifacts ROOT]", file=sys.stderr)
    sys.exit(2)
