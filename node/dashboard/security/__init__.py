"""Who is there and what they may do.

passwords   argon2id, and which passwords are refused
principal   the person or program behind a request: cookie or API token -> name, role
access      `require(role)` for routes; CSRF; the check that no route goes without
cookies     names and flags of cookies; CSRF tokens derived from them
addresses   the client's address and scheme, believing only configured proxies
login       a login from typed name and password, throttled, at the same cost for unknown names
headers     Content-Security-Policy and its kin on every answer
"""
