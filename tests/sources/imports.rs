//! Imports: what a `use` names, and what it brings into its module or block.

use syn::{UseTree, ext::IdentExt as _};

use super::{
    file::{Import, Reference},
    scan::Scan,
};

impl Scan {
    /// Notes what a tree of a `use` names; `bring` gets each import.
    fn import(
        &mut self,
        tree: &UseTree,
        path: &mut Vec<String>,
        bring: &mut dyn FnMut(&mut Self, Import),
    ) {
        let (ident, name) = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.unraw().to_string());
                self.import(&tree.tree, path, bring);
                path.pop();
                return;
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, path, bring);
                }
                return;
            }
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                let reference = Reference {
                    path: path.clone(),
                    line,
                    is_glob: true,
                };
                self.module().references.push(reference);
                bring(
                    self,
                    Import {
                        name: None,
                        path: path.clone(),
                    },
                );
                return;
            }
            UseTree::Name(tree) => (&tree.ident, &tree.ident),
            UseTree::Rename(tree) => (&tree.ident, &tree.rename),
        };
        let mut whole = path.clone();
        if ident != "self" {
            whole.push(ident.unraw().to_string());
        }
        let name = match name.unraw().to_string() {
            name if name == "self" => whole.last().cloned().unwrap_or_default(),
            name => name,
        };
        let line = ident.span().start().line;
        if ["std", "core"]
            .map(|of| [of, "include"])
            .iter()
            .any(|path| whole == *path)
        {
            self.hide("`include!`", line);
        }
        let path = whole.clone();
        self.module().references.push(Reference {
            path,
            line,
            is_glob: false,
        });
        bring(
            self,
            Import {
                name: Some(name),
                path: whole,
            },
        );
    }

    /// Notes what a `use` names; `bring` gets each import.
    pub(crate) fn use_item(
        &mut self,
        item: &syn::ItemUse,
        bring: &mut dyn FnMut(&mut Self, Import),
    ) {
        if self.test_depth == 0 {
            let mut path = Vec::from_iter(item.leading_colon.as_ref().map(|_| "::".to_owned()));
            self.import(&item.tree, &mut path, bring);
        }
    }
}

/// A name is of its block only; all names of a module are taken as the module's, which is coarser.
pub(crate) fn bring_into_block(scan: &mut Scan, import: Import) {
    match (import.name, scan.local_imports.last_mut()) {
        (Some(name), Some(names)) => {
            names.insert(name, import.path);
        }
        (name, _) => scan.module().imports.push(Import {
            name,
            path: import.path,
        }),
    }
}
