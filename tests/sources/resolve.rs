//! What a path means: the file of the item that it names in the end, through imports, re-exports
//! and globs. As the compiler does it, apart from visibility and from namespaces: where a name is
//! both a module and a function, a path that ends there means both.

use super::modules::{House, Name};

/// Where a path leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// To a module.
    Module(usize),
    /// To an item of a module. The path is that of the module, the item, and what follows it.
    Item { module: usize, path: String },
    /// To something that is not ours, such as `std::net::TcpStream`.
    Foreign(String),
}

/// A path, resolved.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) ends: Vec<End>,
    /// The modules that its parts name, outermost first.
    pub(crate) named: Vec<usize>,
}

/// Imports that are being resolved: each is found without itself.
type Open = Vec<(usize, usize)>;

impl House {
    /// What `path` means in `module`. Nothing: a local variable, the prelude's, or a generic type.
    pub(crate) fn resolve(&self, module: usize, path: &[String]) -> Resolved {
        let mut resolved = Resolved::default();
        let mut open = Open::new();
        resolved.ends = self.path(module, path, &mut open, &mut resolved.named);
        resolved
    }

    /// The path of what an end is, for people and for rules.
    pub(crate) fn path_of<'a>(&'a self, end: &'a End) -> &'a str {
        match end {
            End::Module(module) => &self.modules[*module].path,
            End::Item { path, .. } | End::Foreign(path) => path,
        }
    }

    /// The name of the item alone: `Slot` of `metronome_server::ledger::layout::Slot::new`.
    pub(crate) fn item_of<'a>(&'a self, end: &'a End) -> &'a str {
        let path = self.path_of(end);
        match end {
            End::Item { module, .. } => {
                let behind = path[self.modules[*module].path.len()..].trim_start_matches("::");
                behind.split("::").next().unwrap_or(behind)
            }
            End::Module(_) | End::Foreign(_) => path,
        }
    }

    fn path(
        &self,
        module: usize,
        path: &[String],
        open: &mut Open,
        named: &mut Vec<usize>,
    ) -> Vec<End> {
        let Some((first, rest)) = path.split_first() else {
            return Vec::new();
        };
        let starts = match first.as_str() {
            "::" => match rest.split_first() {
                Some((name, rest)) => return self.below(&[self.foreign(name)], rest, open, named),
                None => return Vec::new(),
            },
            "crate" => vec![End::Module(self.modules[module].root)],
            "self" => vec![End::Module(module)],
            "super" => match self.modules[module].parent {
                Some(parent) => vec![End::Module(parent)],
                None => return Vec::new(),
            },
            name => {
                let found = self.lookup(module, name, open);
                if !found.is_empty() {
                    found
                } else if rest.is_empty() && open.is_empty() {
                    // No import has it: a variable, or a name of the prelude.
                    return Vec::new();
                } else {
                    vec![self.foreign(name)]
                }
            }
        };
        self.below(&starts, rest, open, named)
    }

    /// A crate by its name.
    fn foreign(&self, name: &str) -> End {
        match self.crates.get(name) {
            Some(root) => End::Module(*root),
            None => End::Foreign(name.to_owned()),
        }
    }

    /// What `rest` means below any of `starts`.
    fn below(
        &self,
        starts: &[End],
        rest: &[String],
        open: &mut Open,
        named: &mut Vec<usize>,
    ) -> Vec<End> {
        let modules = starts.iter().filter_map(|start| match start {
            End::Module(module) => Some(*module),
            _ => None,
        });
        let modules = modules.collect::<Vec<_>>();
        named.extend(&modules);
        let Some((name, after)) = rest.split_first() else {
            return starts.to_vec();
        };
        if let Some(module) = modules.first() {
            // Where a module and a function have one name, a path that goes on means the module.
            let ends = match name.as_str() {
                "super" => Vec::from_iter(self.modules[*module].parent.map(End::Module)),
                "self" => vec![End::Module(*module)],
                name => self.lookup(*module, name, open),
            };
            if ends.is_empty() {
                let path = format!("{}::{}", self.modules[*module].path, rest.join("::"));
                return vec![End::Item {
                    module: *module,
                    path,
                }];
            }
            return self.below(&ends, after, open, named);
        }
        let rest = rest.join("::");
        let extend = |start: &End| match start {
            End::Item { module, path } => End::Item {
                module: *module,
                path: format!("{path}::{rest}"),
            },
            other => End::Foreign(format!("{}::{rest}", self.path_of(other))),
        };
        starts.iter().map(extend).collect()
    }

    /// What `name` stands for in `module`: its own items and imports before those of globs.
    fn lookup(&self, module: usize, name: &str, open: &mut Open) -> Vec<End> {
        let mut ends = Vec::new();
        for found in self.names(module, name) {
            match *found {
                Name::Module(child) => ends.push(End::Module(child)),
                Name::Item => {
                    let path = format!("{}::{name}", self.modules[module].path);
                    ends.push(End::Item { module, path });
                }
                Name::Import(import) => self.follow(module, import, open, |house, open| {
                    let path = &house.source(module).imports[import].path;
                    ends.extend(house.path(module, path, open, &mut Vec::new()));
                }),
            }
        }
        if !ends.is_empty() {
            return ends;
        }
        let imports = self.source(module).imports.iter().enumerate();
        for (import, glob) in imports.filter(|(_, import)| import.name.is_none()) {
            self.follow(module, import, open, |house, open| {
                for end in house.path(module, &glob.path, open, &mut Vec::new()) {
                    if let End::Module(from) = end {
                        ends.extend(house.lookup(from, name, open));
                    }
                }
            });
        }
        ends
    }

    /// Runs `resolve` unless this import is being resolved already.
    fn follow(
        &self,
        module: usize,
        import: usize,
        open: &mut Open,
        resolve: impl FnOnce(&Self, &mut Open),
    ) {
        if open.contains(&(module, import)) {
            return;
        }
        open.push((module, import));
        resolve(self, open);
        open.pop();
    }
}
