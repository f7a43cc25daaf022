"""States of one car in one campaign, and the moves that are legal.

Words follow Eclipse hawkBit and the Alliance's own flow (facts `ota.alliance_campaign_states`):
download, installation and consent are separate; only the installation needs the parked car.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Step(IntEnum):
    """Where a target car is in a campaign; every target is in exactly one."""

    SCHEDULED = 0  # waits for its rollout group
    AVAILABLE = 1  # its group is open, the car has not asked yet
    DOWNLOADING = 2
    PAUSED = 3  # the campaign stopped the download, what is there is kept
    DOWNLOADED = 4  # waits for the driver's consent
    CONSENTED = 5  # waits for the conditions to install
    INSTALLING = 6  # parked, cannot drive
    ROLLED_BACK = 7  # back on the old memory bank, drives, will try again
    INSTALLED = 8
    FAILED = 9
    CANCELLED = 10
    DEALER = 11  # waits for the next visit to the dealer


NAMES = tuple(step.name.lower() for step in Step)
"""Words of the `state` column, by value of Step."""

OVER = (Step.INSTALLED, Step.FAILED, Step.CANCELLED)
"""Nothing follows these."""

MOVES: dict[Step, tuple[Step, ...]] = {
    Step.SCHEDULED: (Step.AVAILABLE, Step.DEALER, Step.CANCELLED),
    Step.AVAILABLE: (Step.DOWNLOADING, Step.CANCELLED),
    Step.DOWNLOADING: (Step.DOWNLOADED, Step.AVAILABLE, Step.PAUSED, Step.CANCELLED),
    Step.PAUSED: (Step.DOWNLOADING, Step.CANCELLED),
    Step.DOWNLOADED: (Step.CONSENTED, Step.CANCELLED),
    Step.CONSENTED: (Step.INSTALLING, Step.CANCELLED),
    Step.INSTALLING: (Step.INSTALLED, Step.ROLLED_BACK, Step.FAILED, Step.DEALER),
    Step.ROLLED_BACK: (Step.CONSENTED, Step.CANCELLED),
    Step.DEALER: (Step.INSTALLED, Step.CANCELLED),
    Step.INSTALLED: (),
    Step.FAILED: (),
    Step.CANCELLED: (),
}


def legal() -> NDArray[np.bool_]:
    """Matrix [from, to] of legal moves.

    Examples
    --------
    >>> bool(legal()[Step.INSTALLING, Step.INSTALLED]), bool(legal()[Step.INSTALLED, Step.FAILED])
    (True, False)
    """
    matrix = np.zeros((len(Step), len(Step)), bool)
    for here, there in MOVES.items():
        matrix[here, list(there)] = True
    return matrix
