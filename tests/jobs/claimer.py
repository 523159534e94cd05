"""A process that tries to claim every job it is told of, for the claim race: prints the ids it won as JSON.

python claimer.py DATABASE_URL NAME GO_FILE JOB_ID ...
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from node.jobs.heartbeat import utc_now
from node.registry.database import Registry
from node.registry.jobs import claim_job

GO_TIMEOUT_S = 60.0


def main() -> None:
    url, name, go = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    registry = Registry(url)
    with registry.reading() as session:
        session.connection()  # the connection stands before the start signal, so that all race from the same line
    Path(f"{go}.{name}").touch()
    deadline = time.monotonic() + GO_TIMEOUT_S
    while not go.exists():
        if time.monotonic() > deadline:
            sys.exit("nobody said go")
        time.sleep(0.001)
    won = []
    for job_id in map(int, sys.argv[4:]):
        with registry.transaction() as session:
            if claim_job(session, job_id, f"{name}/1", utc_now(), 60.0):
                won.append(job_id)
    print(json.dumps(won))


if __name__ == "__main__":
    main()
