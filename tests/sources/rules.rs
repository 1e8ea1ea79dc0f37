//! The walls: what modules must not name, public faces, unsafe code and its reasons.
//!
//! A place is the path of a module with all below it; with `::self` at its end, that module alone.

use super::{
    file::Keyword,
    modules::{House, Node},
    resolve::End,
};

/// What the modules of some places keep clear of.
pub(crate) struct Wall {
    /// The places that are bound, `but` for some within them.
    pub(crate) of: &'static [&'static str],
    pub(crate) but: &'static [&'static str],
    /// Paths that they must not name, with all below them, however an import or a re-export spells
    /// them; `except` for some within them.
    pub(crate) not: &'static [&'static str],
    pub(crate) except: &'static [&'static str],
    pub(crate) no_keywords: &'static [Keyword],
    /// Methods of this name must not be called, on whatever type.
    pub(crate) no_methods: &'static [&'static str],
}

/// A wall that binds nothing, to fill in.
pub(crate) const WALL: Wall = Wall {
    of: &[],
    but: &[],
    not: &[],
    except: &[],
    no_keywords: &[],
    no_methods: &[],
};

/// The modules within a place, each with the others that it may use.
pub(crate) struct Layers {
    pub(crate) within: &'static str,
    /// Names below `within`. What is used may be a module within one of these.
    pub(crate) modules: &'static [(&'static str, &'static [&'static str])],
}

/// Something that a wall forbids.
#[derive(Debug)]
pub(crate) struct Breach {
    pub(crate) module: String,
    pub(crate) what: String,
    place: String,
}

impl Breach {
    /// The same of the same module, on whatever line.
    fn is_same(&self, other: &Self) -> bool {
        self.module == other.module && self.what == other.what
    }

    pub(crate) fn sentence(&self) -> String {
        format!(
            "{}: {} must not have {}",
            self.place, self.module, self.what
        )
    }
}

impl Wall {
    /// Whether the module of this path is bound.
    pub(crate) fn binds(&self, module: &str) -> bool {
        contains(self.of, module) && !contains(self.but, module)
    }

    /// The first of the paths that a reference names which it must not. What is bound itself may
    /// be named, and a module on the way to what is excepted.
    fn forbidden<'a>(&self, named: &'a [String]) -> Option<&'a String> {
        let is_excepted = |path: &str| contains(self.except, path) || self.binds(path);
        named.iter().find(|path| {
            let leads = |end: &String| is_excepted(end) && is_below(end, path);
            contains(self.not, path) && !named.iter().any(leads)
        })
    }
}

impl House {
    /// Everything that `wall` forbids and that is there.
    pub(crate) fn breaches(&self, wall: &Wall) -> Vec<Breach> {
        let bound = self.production().filter(|(_, node)| wall.binds(&node.path));
        bound
            .flat_map(|(module, _)| self.breaches_of(module, wall))
            .collect()
    }

    /// Everything in a module that `wall` forbids.
    pub(super) fn breaches_of(&self, module: usize, wall: &Wall) -> Vec<Breach> {
        let node = &self.modules[module];
        let mut breaches = Vec::new();
        let mut breach = |what: &str, line| {
            let place = format!("{}:{line}", self.files[node.file].path);
            let breach = Breach {
                module: node.path.clone(),
                what: what.to_owned(),
                place,
            };
            if !breaches.iter().any(|other: &Breach| other.is_same(&breach)) {
                breaches.push(breach);
            }
        };
        let source = self.source(module);
        for reference in &source.references {
            let named = self.named(module, &reference.path);
            if let Some(path) = wall.forbidden(&named) {
                breach(path, reference.line);
            }
        }
        for (of, line) in &source.keywords {
            if wall.no_keywords.contains(of) {
                breach(&format!("`{of:?}`"), *line);
            }
        }
        for (of, line) in &source.methods {
            if wall.no_methods.contains(&of.as_str()) {
                breach(&format!("`.{of}()`"), *line);
            }
        }
        breaches
    }

    /// The modules that not only tests have.
    pub(crate) fn production(&self) -> impl Iterator<Item = (usize, &Node)> {
        let modules = self.modules.iter().enumerate();
        modules.filter(|(_, node)| !node.is_test)
    }

    /// Code whose names no wall can see.
    pub(crate) fn hidden(&self) -> Vec<String> {
        let hidden = self.production().flat_map(|(module, node)| {
            let path = &self.files[node.file].path;
            let hidden = self.source(module).hidden.iter();
            hidden.map(move |(what, line)| format!("{path}:{line}: {what} hides names"))
        });
        hidden.collect()
    }

    /// Uses that `layers` do not allow, modules that they do not have, and those that are gone.
    pub(crate) fn faults_of(&self, layers: &Layers) -> Vec<String> {
        let mut faults = Vec::new();
        let place = |name: &str| format!("{}::{name}", layers.within);
        for (name, may_use) in layers.modules {
            for name in [name].into_iter().chain(*may_use) {
                if self.find(&place(name)).is_none() {
                    faults.push(format!("{} is gone: take it out", place(name)));
                }
            }
        }
        let below = self
            .production()
            .filter(|(_, node)| node.path != layers.within)
            .filter(|(_, node)| is_below(&node.path, layers.within));
        for (module, node) in below {
            let of = |(name, _): &&(&str, _)| is_below(&node.path, &place(name));
            let Some((own, may_use)) = layers.modules.iter().find(of) else {
                faults.push(format!("{} has no place among the layers", node.path));
                continue;
            };
            let is_allowed = |path: &str| {
                let mut allowed = [own].into_iter().chain(*may_use);
                allowed.any(|name| is_below(path, &place(name)))
            };
            for reference in &self.source(module).references {
                let named = self.named(module, &reference.path);
                let is_forbidden =
                    |path: &&String| is_below(path, layers.within) && !is_allowed(path);
                if let Some(path) = named.iter().find(is_forbidden) {
                    let (file, line) = (&self.files[node.file].path, reference.line);
                    faults.push(format!("{file}:{line}: {own} must not use {path}"));
                }
            }
        }
        faults.sort();
        faults.dedup();
        faults
    }

    /// All that a path names, for a wall: where it ends, and the last module on its way, which an
    /// item that a re-export of this module brought in would not show.
    pub(super) fn named(&self, module: usize, path: &[String]) -> Vec<String> {
        let resolved = self.resolve(module, path);
        let ends = resolved.ends.iter().map(|end| self.path_of(end).to_owned());
        let last = resolved
            .named
            .last()
            .map(|module| self.modules[*module].path.clone());
        ends.chain(last).collect()
    }

    /// Paths from outside a part that name a file inside it, rather than what the part's own
    /// module declares or re-exports.
    pub(crate) fn trespasses(&self, parts: &[&str]) -> Vec<String> {
        let mut trespasses = Vec::new();
        for (module, node) in self.production() {
            for reference in &self.source(module).references {
                let resolved = self.resolve(module, &reference.path);
                let ends = resolved.ends.iter().filter_map(|end| match end {
                    End::Module(module) => Some(*module),
                    _ => None,
                });
                for named in resolved.named.iter().copied().chain(ends) {
                    let named = &self.modules[named];
                    let is_inside = |part: &&&str| {
                        let (part, inside) = (**part, named.path.as_str());
                        is_below(inside, part) && inside != part && !is_below(&node.path, part)
                    };
                    if let Some(part) = parts.iter().find(is_inside).filter(|_| named.is_file()) {
                        let place = format!("{}:{}", self.files[node.file].path, reference.line);
                        trespasses.push(format!("{place}: {} lies inside {part}", named.path));
                    }
                }
            }
        }
        trespasses.dedup();
        trespasses
    }

    /// Unsafe code without its reason just before it, a reason without unsafe code, and either
    /// outside the crate `allowed`.
    pub(crate) fn unsafe_code(&self, allowed: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for node in self
            .modules
            .iter()
            .filter(|node| node.is_file() && !node.is_test)
        {
            let file = &self.files[node.file];
            let keywords = file.modules.iter().flat_map(|module| &module.keywords);
            let code = keywords.filter(|(of, _)| *of == Keyword::Unsafe);
            let code = code.map(|(_, line)| (*line, true));
            let reasons = file.text.lines().enumerate();
            let reasons = reasons
                .map(|(index, line)| (index + 1, line))
                .filter(|(number, line)| {
                    line.trim_start().starts_with("// SAFETY: ") && !file.is_in_test_module(*number)
                })
                .map(|(number, _)| (number, false));
            let mut all = code.chain(reasons).collect::<Vec<_>>();
            all.sort_unstable();
            if !is_below(&node.path, allowed) && !all.is_empty() {
                faults.push(format!("{}:{}: unsafe code", file.path, all[0].0));
                continue;
            }
            let mut has_reason = false;
            for (line, is_code) in all {
                if is_code != has_reason {
                    let what = if is_code {
                        "unsafe code without"
                    } else {
                        "more than one"
                    };
                    faults.push(format!("{}:{line}: {what} `// SAFETY: ` note", file.path));
                }
                has_reason = !is_code;
            }
            if has_reason {
                faults.push(format!(
                    "{}: a `// SAFETY: ` note without unsafe code",
                    file.path
                ));
            }
        }
        faults
    }

    /// Whether a place of ours is there: a module, or an item of one.
    pub(crate) fn has(&self, place: &str) -> bool {
        let place = place.strip_suffix("::self").unwrap_or(place);
        let is_item = |(module, item): (&str, &str)| {
            self.find(module)
                .is_some_and(|module| !self.names(module, item).is_empty())
        };
        self.find(place).is_some() || place.rsplit_once("::").is_some_and(is_item)
    }
}

impl Node {
    /// Whether the module is a file's own.
    pub(crate) fn is_file(&self) -> bool {
        self.index == 0
    }
}

/// Whether `path` lies in one of `places`.
pub(crate) fn contains(places: &[&str], path: &str) -> bool {
    places
        .iter()
        .any(|place| match place.strip_suffix("::self") {
            Some(module) => path == module,
            None => is_below(path, place),
        })
}

/// Whether `path` is `place`, or lies below it.
pub(super) fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
