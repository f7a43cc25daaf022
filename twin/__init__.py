"""The simulated world and its agents.

Compiled kernels are kept in a folder of their own, named after the sources of all
kernels: numba itself does not see a change in a function that a kernel calls.
"""

import hashlib as _hashlib
import os as _os
import tempfile as _tempfile
from pathlib import Path as _Path


def _kernel_cache() -> str:
    here = _Path(__file__).parent
    digest = _hashlib.sha256()
    for source in sorted([here / "chance.py", *here.rglob("*kernels.py")]):
        digest.update(source.read_bytes())
    home = _os.environ.get("TWIN_CACHE") or _Path("~/.cache/fleet-twin").expanduser()
    for base in (home, _Path(_tempfile.gettempdir()) / f"fleet-twin-{_os.getuid()}"):
        folder = _Path(base) / f"kernels-{digest.hexdigest()[:12]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if _os.access(folder, _os.W_OK):
            return str(folder)
    return ""


if "NUMBA_CACHE_DIR" not in _os.environ and (_folder := _kernel_cache()):
    _os.environ["NUMBA_CACHE_DIR"] = _folder
