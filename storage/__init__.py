# SPDX-License-Identifier: Apache-2.0
"""What is kept: records, databases, the write queue, and one module per aggregate."""
