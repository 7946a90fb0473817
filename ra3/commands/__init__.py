"""What each command does, from settings to a finished run folder (`run`): its inputs (`inputs`), what it would take
(`plan`, `memory`), and what can go wrong around it, in words (`failures`, `exit_codes`)."""
