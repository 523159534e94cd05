"""From acknowledged files to jobs.

    spool/inbox --ingest--> registry + store --completion--> complete series --rules--> jobs --> queue
                                                                                (retention deletes what is delivered)

Decisions are pure functions (`completion.judge`, `routing.route`, `retention.deletable`); `ingest.Ingest`,
`assembler.Assembler` and `retention.Retention` carry them out, one `step(now)` at a time, and `node.jobs` runs them in
a loop. Pixels are never looked at here.
"""
