//! The modules of the page as one script, for a document that stands alone: a module can import no
//! other from within a file.
//!
//! Each becomes a function that returns what it exports, in the order of their imports. So a module
//! may import with `import { a, b } from "./other.js";` in one line, and export a function, a class
//! or a constant where it declares it; nothing else. A test reads that of all of them.

use std::fmt::Write as _;

use crate::assets::Asset;

/// One script. It is strict, as modules are.
pub(crate) fn joined(modules: &[Asset]) -> String {
    let mut script = String::from("\"use strict\";\n");
    for module in modules {
        let mut exported = Vec::new();
        writeln!(script, "const {} = (() => {{", variable(module.path)).expect("text");
        for line in module.text.lines() {
            if let Some((names, path)) = imported(line) {
                writeln!(script, "const {{{names}}} = {};", variable(path)).expect("text");
            } else if let Some(declaration) = line.strip_prefix("export ") {
                exported.extend(declared(declaration));
                writeln!(script, "{declaration}").expect("text");
            } else {
                writeln!(script, "{line}").expect("text");
            }
        }
        writeln!(script, "return {{ {} }};\n}})();", exported.join(", ")).expect("text");
    }
    script
}

/// The variable that has what a module exports.
fn variable(path: &str) -> String {
    let name = path.trim_start_matches("./").trim_end_matches(".js");
    format!("module_{}", name.replace(['/', '.', '-'], "_"))
}

/// The names of an import, and the path of the module that they are of.
fn imported(line: &str) -> Option<(&str, &str)> {
    let (names, path) = line.strip_prefix("import {")?.split_once("} from \"")?;
    Some((names, path.strip_suffix("\";")?))
}

/// The name that is declared: of a function, a class or a constant.
fn declared(declaration: &str) -> Option<&str> {
    let declaration = declaration.strip_prefix("async ").unwrap_or(declaration);
    let (kind, rest) = declaration.split_once(' ')?;
    let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_')?;
    ["function", "class", "const"]
        .contains(&kind)
        .then_some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::MODULES;

    #[test]
    fn every_import_is_of_a_module_before_it_and_in_the_form_that_can_be_joined() {
        for (index, module) in MODULES.iter().enumerate() {
            for line in module
                .text
                .lines()
                .filter(|line| line.starts_with("import"))
            {
                let (names, path) = imported(line).unwrap_or_else(|| panic!("{line}"));
                let path = path.strip_prefix("./").unwrap();
                let of = MODULES[..index].iter().find(|before| before.path == path);
                let of = of.unwrap_or_else(|| panic!("{}: {line}", module.path));
                let exports: Vec<_> = of
                    .text
                    .lines()
                    .filter_map(|line| declared(line.strip_prefix("export ")?))
                    .collect();
                for name in names.split(',').map(str::trim) {
                    assert!(exports.contains(&name), "{}: {name} of {path}", module.path);
                }
            }
        }
    }

    #[test]
    fn every_export_is_a_declaration() {
        for module in MODULES {
            for line in module
                .text
                .lines()
                .filter(|line| line.starts_with("export"))
            {
                let declaration = line.strip_prefix("export ").and_then(declared);
                assert!(declaration.is_some(), "{}: {line}", module.path);
            }
        }
    }

    #[test]
    fn no_import_or_export_is_left() {
        let script = joined(&MODULES);
        for line in script.lines() {
            assert!(
                !line.starts_with("import ") && !line.starts_with("export "),
                "{line}"
            );
        }
        assert!(script.contains("const { fill, h } = module_dom;\n"));
    }
}
