"""`python -m tests.sandbox`: see server.py."""

import sys

from tests.sandbox.server import main

main(sys.argv[1:])
