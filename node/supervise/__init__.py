"""`osteon serve`: every part of the node in one command.

    supervisor  serve(configuration): starts the parts, watches them, drains them
    parts       which processes there are, and how each shows that it is ready
    child       one process: started, watched, restarted with a back-off, ended
    ports       is the port free, before anything starts
    lifeline    a process that dies with its parent

Each part is the same program under its own verb, so that `serve` does nothing that the verbs alone could not do.
"""

from node.supervise.supervisor import serve

__all__ = ["serve"]
