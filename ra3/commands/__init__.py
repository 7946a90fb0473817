"""What each command does, from settings to a finished run folder (`run`): its inputs (`inputs`), what it would take
(`plan`), and how it ends, also when something goes wrong around it (`failures`)."""
