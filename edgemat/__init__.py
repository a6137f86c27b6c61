"""edgemat takes a face-matting student network to the phone and proves what arrives there."""

from __future__ import annotations

__version__ = "0.1.0"
