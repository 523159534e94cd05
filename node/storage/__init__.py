"""Where files lie: the one room that builds paths.

    data folder
      spool/inbox/      acknowledged, not yet in the registry (the journal; node.receive writes, node.assemble empties)
      spool/partial/    arriving right now
      spool/refused/    acknowledged but not registrable (no study, unreadable header), kept for a person
      store/            registered instances and results, by storage key

A storage key is a relative POSIX path made of validated UIDs. The spool is always local to the listener; `store/`
goes through the `Storage` protocol, so that a shared folder or an object store can take its place.
"""

from node.storage.local import LocalStorage, SpoolFolders
from node.storage.protocol import (
    RESULTS,
    Storage,
    StoredFile,
    check_key,
    instance_key,
    is_valid_uid,
    result_key,
    revision_of,
)

__all__ = [
    "RESULTS",
    "LocalStorage",
    "SpoolFolders",
    "Storage",
    "StoredFile",
    "check_key",
    "instance_key",
    "is_valid_uid",
    "result_key",
    "revision_of",
]
