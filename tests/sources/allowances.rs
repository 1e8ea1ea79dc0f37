//! What the walls allow: each allowance is used, and each place named is there.

use super::{
    modules::House,
    rules::{Layers, Wall, contains, is_below},
};

/// Crates that need no dependency.
const STD: &[&str] = &["std", "core", "alloc"];

impl House {
    /// Exceptions of `wall` that it would hold without.
    pub(crate) fn unused(&self, wall: &Wall) -> Vec<String> {
        let of = wall.of.first().copied().unwrap_or_default();
        let is_used = |except: &&&str| {
            let is_meant = |path: &String| contains(wall.not, path) && contains(&[**except], path);
            let mut bound = self.production().filter(|(_, node)| wall.binds(&node.path));
            bound.any(|(module, _)| self.names_any(module, is_meant))
        };
        let is_needed = |but: &&&str| {
            let freed = |path: &str| contains(wall.of, path) && contains(&[**but], path);
            let mut freed = self.production().filter(|(_, node)| freed(&node.path));
            freed.any(|(module, _)| !self.breaches_of(module, wall).is_empty())
        };
        let excepts = wall.except.iter().filter(|except| !is_used(except));
        let buts = wall.but.iter().filter(|but| !is_needed(but));
        excepts
            .chain(buts)
            .map(|place| format!("the wall around {of} needs no exception for {place}"))
            .collect()
    }

    /// What modules of `layers` may use and do not.
    pub(crate) fn unused_layers(&self, layers: &Layers) -> Vec<String> {
        let place = |name: &str| format!("{}::{name}", layers.within);
        let mut unused = Vec::new();
        for (own, may_use) in layers.modules {
            let own = place(own);
            for used in may_use.iter().map(|name| place(name)) {
                let is_used = self
                    .production()
                    .filter(|(_, node)| is_below(&node.path, &own))
                    .any(|(module, _)| self.names_any(module, |path| is_below(path, &used)));
                if !is_used {
                    unused.push(format!("{own} does not use {used}: take it out"));
                }
            }
        }
        unused
    }

    /// Whether a path in `module` names what is meant.
    fn names_any(&self, module: usize, is_meant: impl Fn(&String) -> bool) -> bool {
        let mut references = self.source(module).references.iter();
        references.any(|reference| self.named(module, &reference.path).iter().any(&is_meant))
    }

    /// Whether a place is there: a module or an item of ours, or anything in one of the other
    /// crates `dependencies`, by the names that code has for them, or of the standard library.
    pub(crate) fn is_there(&self, place: &str, dependencies: &[String]) -> bool {
        let first = place.split("::").next().unwrap_or(place);
        match self.crates.contains_key(first) {
            true => self.has(place),
            false => STD.contains(&first) || dependencies.iter().any(|of| of == first),
        }
    }
}
