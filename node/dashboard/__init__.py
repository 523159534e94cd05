"""The admin dashboard: pages over the registry for people, the same as JSON for programs.

    browser --> Shield --> guard (login, role, CSRF) --> pages/*.py --> node.registry --> templates/*.html
    program --> Shield --> guard (API token)         --> api/*.py   --> node.registry --> JSON
    registry --> live.py (one poller) --> /live (server-sent events) --> htmx fetches the fragments that changed

It writes nothing but what a person asks for, through the registry's functions that the command line calls too. Pages
work without JavaScript; htmx only keeps them fresh. Who sees patients' names is decided in `patients.py`.

A page: a module in `pages/` with a `router`, listed in `pages/__init__.py`; the navigation (`render.NAVIGATION`) shows
an entry once its path has a route. Every route says who may use it by one of its parameters, or the program does not
start (`security/access.py`):

    router = APIRouter(include_in_schema=False)

    @router.get("/jobs")
    def jobs_page(request: Request, desk: AtDesk, who: AsViewer, cursor: str = "") -> Response:
        with desk.registry.reading() as session:
            found = page(session, select(Job), (Job.created_at, Job.id), cursor)     # node.registry.paging
            patients = shown_patients(desk, who, session, uids)
        return desk.pages.page(request, "jobs.html", {"page": found, "patients": patients})

The template extends base.html and uses the macros of macros.html as `ui.*`: `ui.state(name)`, `ui.ago(at)`,
`ui.table(...)`, `ui.filters(...)`, `ui.pager(page)`, `ui.action(where, label, sure=...)`, `ui.study(uid, patients)`;
charts are `chart.bars|line|sparkline(...)`. No inline script and no style attribute: the browser is told to refuse
both. Lists are never counted; `paging.page` needs an index on its key columns.

An action: a POST route for AsOperator or AsAdmin; the change and its line in the audit trail in one transaction. A
PermanentError becomes a page (409) or problem details by itself. In the template it is
`ui.action("/jobs/7/retry", _("Retry"))`.

    @router.post("/jobs/{job_id}/retry")
    def retry(request: Request, desk: AtDesk, who: AsOperator, job_id: int) -> Response:
        with desk.registry.transaction() as session:
            job_requests.retry_job(session, job_id, desk.clock())
            audited(session, who, "job.retry", f"job {job_id}", now=desk.clock())    # node.registry.audit
        return desk.pages.done(request, f"/jobs/{job_id}", _("Job {id} is queued again.", id=job_id))

A live fragment: a block of the page's own template, `<div {{ live("rows", "job", "delivery") }}>{% block rows %}...
{% endblock %}</div>`. When one of these topics (`live.TOPICS`) changes, htmx fetches the same address with
`?fragment=rows` and gets that block alone; `render.fragment_of(request)` lets a page skip the queries of the others.
Variables set at a template's top and `{% from %}` imports are not visible inside such a block; `ui`, `_` and `chart`
are.

A string: `_("Jobs")` in templates and code, `_("Job {id}", id=7)` with values, `Text("...", ...)` where no request is
near (errors, settings), `N_("...")` in tables that are translated later by `_(variable)`. Its Chinese goes to
`locale/zh/<pages>.json`; a test names every string that is missing there, and every one that is left over.

API: a module in `api/` with a router under /api/v1, listed in `api/__init__.py`, returning a view of
`node.registry.views` as `response_model`; the guards are the same.
"""
