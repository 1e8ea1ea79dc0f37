//! The tree of modules of all crates, found from the first file of each by its `mod` declarations.

use std::collections::HashMap;

use super::{
    Crate, Source,
    file::{File, Module},
};

/// All crates, read.
pub(crate) struct House {
    pub(crate) files: Vec<File>,
    pub(crate) modules: Vec<Node>,
    /// Crates by their names: their first modules.
    pub(crate) crates: HashMap<String, usize>,
    /// Files that no `mod` declaration leads to.
    pub(crate) strays: Vec<String>,
}

/// A module at its place in its crate.
pub(crate) struct Node {
    /// `metronome_server::ledger::work`.
    pub(crate) path: String,
    pub(crate) file: usize,
    /// Among the modules of the file; 0 is the file's own.
    pub(super) index: usize,
    pub(crate) parent: Option<usize>,
    pub(crate) root: usize,
    pub(crate) is_test: bool,
    names: HashMap<String, Vec<Name>>,
}

/// What a name stands for in a module. One name may be several: a module and a function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Name {
    Module(usize),
    Item,
    /// The import of this number.
    Import(usize),
}

impl House {
    /// Reads `sources` as the crates `crates`.
    pub(crate) fn read(crates: &[Crate], sources: &[Source]) -> Self {
        let mut house = Self {
            files: sources.iter().map(File::read).collect(),
            modules: Vec::new(),
            crates: HashMap::new(),
            strays: Vec::new(),
        };
        let files = house.files.iter().enumerate();
        let files = files
            .map(|(index, file)| (file.path.clone(), index))
            .collect();
        let mut tree = Tree {
            house: &mut house,
            files,
            reached: vec![false; sources.len()],
        };
        for of in crates {
            let file = *tree
                .files
                .get(of.root)
                .unwrap_or_else(|| panic!("{} is gone", of.root));
            let folder = of.root.rsplit_once('/').map_or("", |(folder, _)| folder);
            let root = tree.add(file, 0, of.name.to_owned(), None, false);
            tree.house.crates.insert(of.name.to_owned(), root);
            tree.children(root, folder);
        }
        let reached = tree.reached;
        let strays = sources.iter().zip(reached).filter(|(_, reached)| !reached);
        house.strays = strays.map(|(source, _)| source.path.clone()).collect();
        house
    }

    /// The module as its source shows it.
    pub(crate) fn source(&self, module: usize) -> &Module {
        let node = &self.modules[module];
        &self.files[node.file].modules[node.index]
    }

    pub(crate) fn names(&self, module: usize, name: &str) -> &[Name] {
        self.modules[module]
            .names
            .get(name)
            .map_or(&[], Vec::as_slice)
    }

    /// The module of this path.
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.modules.iter().position(|module| module.path == path)
    }
}

/// Grows the tree of a house.
struct Tree<'a> {
    house: &'a mut House,
    files: HashMap<String, usize>,
    reached: Vec<bool>,
}

impl Tree<'_> {
    fn add(
        &mut self,
        file: usize,
        index: usize,
        path: String,
        parent: Option<usize>,
        is_test: bool,
    ) -> usize {
        self.reached[file] = true;
        let this = self.house.modules.len();
        let root = parent.map_or(this, |parent| self.house.modules[parent].root);
        let source = &self.house.files[file].modules[index];
        let mut names = HashMap::<_, Vec<_>>::new();
        for item in &source.items {
            names.entry(item.clone()).or_default().push(Name::Item);
        }
        for (index, import) in source.imports.iter().enumerate() {
            if let Some(name) = &import.name {
                names
                    .entry(name.clone())
                    .or_default()
                    .push(Name::Import(index));
            }
        }
        let node = Node {
            path,
            file,
            index,
            parent,
            root,
            is_test,
            names,
        };
        self.house.modules.push(node);
        this
    }

    /// Adds the modules within `module`, whose files lie in `folder`.
    fn children(&mut self, module: usize, folder: &str) {
        let Node {
            file,
            index,
            ref path,
            is_test,
            ..
        } = self.house.modules[module];
        let path = path.clone();
        let source = &self.house.files[file];
        let inline = source.modules.iter().enumerate();
        let inline = inline
            .filter(|(_, inner)| inner.within == Some(index))
            .map(|(index, inner)| (inner.name.clone(), index, inner.is_test))
            .collect::<Vec<_>>();
        let declared = source.modules[index].children.iter();
        let declared = declared
            .map(|child| (child.name.clone(), child.file.clone(), child.is_test))
            .collect::<Vec<_>>();
        let here = source
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned();
        for (name, index, test) in inline {
            let child = self.add(
                file,
                index,
                format!("{path}::{name}"),
                Some(module),
                is_test || test,
            );
            self.name(module, &name, child);
            self.children(child, &join(folder, &name));
        }
        for (name, own_file, test) in declared {
            let below = join(folder, &name);
            let (file, folder) = match own_file {
                Some(own) => {
                    let whole = join(&here, &own);
                    let folder = whole
                        .rsplit_once('/')
                        .map_or("", |(folder, _)| folder)
                        .to_owned();
                    (self.files.get(&whole), folder)
                }
                None => {
                    let candidates = [format!("{below}.rs"), format!("{below}/mod.rs")];
                    (
                        candidates.iter().find_map(|path| self.files.get(path)),
                        below,
                    )
                }
            };
            let file = *file.unwrap_or_else(|| panic!("{path} has no file for `mod {name};`"));
            let child = self.add(
                file,
                0,
                format!("{path}::{name}"),
                Some(module),
                is_test || test,
            );
            self.name(module, &name, child);
            self.children(child, &folder);
        }
    }

    fn name(&mut self, module: usize, name: &str, child: usize) {
        let names = &mut self.house.modules[module].names;
        names
            .entry(name.to_owned())
            .or_default()
            .push(Name::Module(child));
    }
}

/// `folder` and `path` as one path, without `..`.
fn join(folder: &str, path: &str) -> String {
    let mut parts = folder
        .split('/')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
