"""From acknowledged files to jobs.

    spool/inbox --ingest--> registry + store --completion--> complete series --rules--> jobs --> queue
                                                                                (retention deletes what is delivered)

Decisions are pure functions (`completion.judge`, `routing.route`, `retention.deletable`); `ingest.Ingest`,
`assembler.Assembler` and `retention.Retention` carry them out, one `step(now)` at a time, and `node.jobs` runs them in
a loop. Pixels are never looked at here.
"""

from node.assemble.assembler import Assembler, AssemblyReport
from node.assemble.ingest import Ingest, IngestReport
from node.assemble.retention import Retention, RetentionReport

__all__ = ["Assembler", "AssemblyReport", "Ingest", "IngestReport", "Retention", "RetentionReport"]
