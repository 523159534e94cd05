"""The one owner of the database.

Other rooms call the functions of this room inside `Registry.transaction()` or `Registry.reading()`:

    migrate      the schema, brought up to date by every process at its start
    intake       received instances -> studies, series, instances
    series       open series, completion, associations
    planning     jobs made, revised and cancelled
    jobs         jobs claimed, kept alive and ended by workers
    job_actions  what a person asks of jobs, results and series, with its line in the audit trail
    deliveries   results on their way to destinations
    retention    what may be deleted, and that it was; leftovers: what no row stands for
    events, workers   what happened, and who is at work
    queries      everything that pages show
    paging       keyset pagination over any of it; patients: names, for those who may see them
    accounts, credentials, roles, audit   who may use the dashboard, and what they changed
"""
