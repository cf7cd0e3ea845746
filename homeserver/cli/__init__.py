# SPDX-License-Identifier: Apache-2.0
"""The command line: `trellis run`, `init`, `check` and `user`."""
