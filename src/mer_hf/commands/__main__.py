"""`python -m mer_hf.commands` is `mer-hf`."""

import sys

from mer_hf.commands import main

sys.exit(main())
