"""The page docs/settings.md, made of the settings:

    .venv/bin/python tests/settings_page.py > docs/settings.md
"""

from ra3.config.help import sections, settings, show
from ra3.config.load import ALIASES

HEAD = """\
# Settings

For everybody who runs `ra3`: every setting with its default, what it may be and what it means, as `ra3 midtrain --help`
prints them. After a flag: `--run.seed 3`; in a recipe: `seed = 3` under `[run]`; from [Python](python.md):
`{"run.seed": 3}`. This page is made from `ra3/config/settings.py`, `tests/test_docs.py` compares the two:

    .venv/bin/python tests/settings_page.py > docs/settings.md

Short forms of flags: """


def settings_page() -> str:
    """The page as text."""
    text = HEAD + ", ".join(f"`--{alias}` for `{key}`" for alias, key in ALIASES.items()) + ".\n"
    for name, section in sections().items():
        text += f"\n## {name}\n\n{section.__doc__}\n\n| Setting | Default | Allowed | Meaning |\n|---|---|---|---|\n"
        for setting in settings().values():
            if setting.key.rpartition(".")[0] == name:
                cells = f"`{setting.key}`", f"`{show(setting.default)}`", setting.allowed, setting.help
                text += f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
    return text


if __name__ == "__main__":
    print(settings_page(), end="")
