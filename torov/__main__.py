"""``python -m torov``: the command line without an installed script."""

import sys

from torov.cli import main

sys.exit(main())
