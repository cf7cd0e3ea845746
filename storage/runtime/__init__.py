# SPDX-License-Identifier: Apache-2.0
"""What every floor needs: clock, background tasks, metrics."""
