"""Who may call what: identities, their roles, and where they are checked."""
