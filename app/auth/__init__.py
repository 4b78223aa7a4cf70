"""Authentication and authorisation: tokens, the keys that sign them, and revocation. No HTTP."""
