"""The page's script: ES modules joined in the order of their imports, and what cannot be joined refused by name."""

from pathlib import Path

import pytest

from paritygate.core.errors import HarnessError
from paritygate.report import script
from paritygate.report.render import HERE


def modules(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.js").write_text(text + "\n")
    return folder


def test_modules_are_joined_once_each_after_what_they_import(tmp_path: Path) -> None:
    folder = modules(
        tmp_path,
        main='import { b } from "./b.js";\nimport {\n  a,\n  c,\n} from "./a.js";\nb(a + c);',
        a="const own = 1;\nexport const a = own;\nexport const c = 2;",
        b='import { a } from "./a.js";\nexport async function b(x) {\n  return own(x) + a;\n}\nconst own = (x) => x;',
        unused="nothing imports this",
    )
    joined = script.join(folder)
    places = [joined.index(f"const module_{name} = (() => {{") for name in ("a", "b", "main")]
    assert places == sorted(places)
    assert joined.count("const module_a =") == 1
    assert "return { a, c };" in joined  # `own` of one module is not that of the other
    assert "const { b } = module_b;" in joined
    assert "unused" not in joined
    assert "import" not in joined
    assert "export" not in joined


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"main": 'import { a } from "./a.js";'}, "no such file"),
        ({"main": 'import { b } from "./a.js";', "a": "export const a = 1;"}, "got       b"),
        ({"main": 'import a from "./a.js";', "a": "export const a = 1;"}, 'import a from "./a.js";'),
        ({"main": 'import { a as b } from "./a.js";', "a": "export const a = 1;"}, "got       as, b"),
        ({"main": "export default 1;"}, "export default 1;"),
        ({"main": "export let a = 1;"}, "export let a = 1;"),
        (
            {"main": 'import { a } from "./a.js";', "a": 'import { b } from "./main.js";\nexport const a = b;'},
            "main.js → a.js → main.js",
        ),
        ({"main": 'const text = "</script>";'}, "</script>"),
    ],
)
def test_what_cannot_be_joined_is_refused(tmp_path: Path, texts: dict[str, str], said: str) -> None:
    with pytest.raises(HarnessError) as refused:
        script.join(modules(tmp_path, **texts))
    assert said in str(refused.value)


def test_every_module_is_on_the_page() -> None:
    folder = HERE / "static"
    joined = script.join(folder)
    for path in folder.glob("*.js"):
        assert f"const module_{path.stem.replace('-', '_')} =" in joined, f"nothing imports {path.name}"
