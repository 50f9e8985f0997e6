"""`python -m im_bench` is `im-bench`."""

import sys

from im_bench.cli import main

sys.exit(main())
