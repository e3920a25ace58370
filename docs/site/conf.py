"""The site of the documentation: this repository's pages where they are, and a reference.

The repository is the source folder, so a link between pages is the same here and on GitHub. Nothing
is fetched, neither here nor by a reader's browser.
"""

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

import proto_pages  # noqa: E402 - it lies here

project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
html_title = project

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "README"
include_patterns = [
    "*.md",
    "*/README.md",
    "training/README_CN.md",
    "serving/backends/README.md",
    "benchmarks/*.md",
    "docs/*.md",
    "docs/site/*.md",
]
exclude_patterns = [".*", "build", "outputs", "bundles", "models", "tests"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!clients\.).*")]  # types that this site does not describe

myst_heading_anchors = 6  # named as GitHub names them
highlight_language = "text"  # as GitHub shows a block that names no language
default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
python_use_unqualified_type_names = True

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["search.js"]
html_extra_path = ["index.html"]
html_show_copyright = False
html_copy_source = False
copybutton_prompt_text = "$ "

CONTENTS = """
```{toctree}
:hidden:
:glob:
:caption: Use it

Serving <serving/README>
Clients <clients/README>
Moving here <docs/migrating>
Containers and monitoring <deploy/README>
docs/*
```

```{toctree}
:hidden:
:caption: Make models

Training <training/README>
Export <export/README>
Runtimes and devices <serving/backends/README>
Sample images <examples/README>
```

```{toctree}
:hidden:
:caption: Reference

The Python client <docs/site/python>
Classify over gRPC <docs/site/classifier>
Open Inference Protocol <docs/site/open_inference>
```

```{toctree}
:hidden:
:caption: The project

Benchmarks <benchmarks/README>
Expected of a GPU <benchmarks/gpu>
Contributing <CONTRIBUTING>
Changelog <CHANGELOG>
中文 <README_CN>
训练 <training/README_CN>
```
"""


def _adapt(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add what is not in the repository's pages, and lead their links to pages of this site."""
    proto = ROOT / f"protos/{Path(page).name}.proto"
    if proto.exists():
        source[0] += proto_pages.markdown(proto)
    else:
        source[0] = re.sub(r"(?<!!)\[([^]]+)\]\(([^)#:]+)\)", _link(page), source[0])
    if page == root_doc:
        source[0] += CONTENTS


def _link(page: str) -> Callable[[re.Match[str]], str]:
    def of_the_site(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = (ROOT / page).parent / target
        if path.suffix == ".proto":
            return f"[{text}](/docs/site/{path.stem}.md)"
        return text if path.is_dir() else link[0]  # a folder is no page

    return of_the_site


def _drop_aliases(
    _app: Sphinx, _kind: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """Leave out what Python says of a named tuple's fields: "Alias for field number 0"."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def setup(app: Sphinx) -> None:
    """Have each page adapted as it is read."""
    app.connect("source-read", _adapt)
    app.connect("autodoc-process-docstring", _drop_aliases)
