# SPDX-License-Identifier: GPL-2.0-or-later
"""Where tools/lab enters."""

import sys

import cli

sys.exit(cli.main())
