"""Who may do what: tokens, the keys they are signed with, and the watch over the revoked ones.

No Flask and no HTTP here: `app.web.admission` asks these modules.
"""
