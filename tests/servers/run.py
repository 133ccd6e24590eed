"""Run a server of the bank: `python -m tests.servers.run PORT NAME [DEFECT]`."""

import sys
from pathlib import Path

from tests.servers.defects import DEFECTS

_name, _title = sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""
__file__ = str(Path(__file__).parent / "honest" / f"{_name}_server.py")
_source = Path(__file__).read_text("utf-8")
if _title:
    _defect = next(defect for defect in DEFECTS[_name] if defect.title == _title)
    if _source.count(_defect.old) != 1:
        raise SystemExit(f"{_name}: {_title}: the server's source does not have the text once")
    _source = _source.replace(_defect.old, _defect.new)
# In this module's own namespace, because frameworks look annotations up in `__main__`.
exec(compile(_source, __file__, "exec"), globals())
