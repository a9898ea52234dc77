"""`python -m paritygate` is the command `paritygate`."""

import sys

from paritygate.cli.main import main

sys.exit(main())
