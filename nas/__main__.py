"""`python -m nas` is the command `nas`."""

import sys

from nas.cli.main import main

sys.exit(main())
