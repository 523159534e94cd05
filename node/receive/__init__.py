"""The room that talks to scanners and the PACS: associations in, durable files out.

    supervisor  run_listeners: opens the port, forks `listen.processes` listeners, restarts those that die
    listener    one process; accepts, hands over, drains on SIGTERM
      waiting_room  everything before an association: silent sockets, TLS handshakes, the A-ASSOCIATE-RQ's bytes
      admission     who may open an association (called and calling AE title, how many at once)
      contexts      which presentation contexts are accepted
      association   pynetdicom's association, one thread that waits and one that reads and stores
        transport     pynetdicom's upper layer, reading P-DATA without copies
        messages      DIMSE messages out of P-DATA fragments; C-STORE answered, the rest left to pynetdicom
        command       command sets, decoded and encoded
        reception     what one association stores: partial file -> fsync -> inbox -> acknowledgement
        statuses      every status a C-STORE may be answered with
    janitor     leaked partial files, records of associations whose process was killed

It knows associations, bytes and the spool's inbox. It decodes no data set, and knows neither registry nor queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.settings import Configuration


def run_listeners(configuration: Configuration, ready: Callable[[str, int], None] | None = None) -> None:
    """Listen with `listen.processes` supervised processes; see `node.receive.supervisor.run_listeners`."""
    from node.receive.supervisor import run_listeners as run

    run(configuration, ready)
