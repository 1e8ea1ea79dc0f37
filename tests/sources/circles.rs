//! Which file uses which, and the circles in that.
//!
//! A file uses another when a path in it leads to an item that the other defines, in whatever
//! module the path found it: a re-export is passed through. To declare a module, to import one
//! and to name one on the way is no use of its file.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::{self, Display, Formatter},
};

use super::{modules::House, resolve::End};

/// Files that use each other, with all the ties between them.
pub(crate) struct Circle {
    pub(crate) files: Vec<String>,
    ties: Vec<Tie>,
}

/// What the file `from` names of the items of the file `to`, with the first line of each.
struct Tie {
    from: String,
    to: String,
    names: Vec<(String, usize)>,
}

/// By user and used: the names, with the lines where they first are.
type Uses = BTreeMap<(usize, usize), BTreeMap<String, usize>>;

impl House {
    /// What each file uses of other files of its crate.
    fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (module, node) in self
            .modules
            .iter()
            .enumerate()
            .filter(|(_, node)| !node.is_test)
        {
            for reference in &self.source(module).references {
                for end in self.resolve(module, &reference.path).ends {
                    let (target, name) = match &end {
                        End::Item { module, .. } => (*module, self.item_of(&end)),
                        End::Module(module) if reference.is_glob => (*module, "*"),
                        End::Module(_) | End::Foreign(_) => continue,
                    };
                    let to = &self.modules[target];
                    if to.root == node.root && to.file != node.file {
                        let names = uses.entry((node.file, to.file)).or_default();
                        let line = names.entry(name.to_owned()).or_insert(reference.line);
                        *line = reference.line.min(*line);
                    }
                }
            }
        }
        uses
    }

    /// All circles: the largest sets of files of which each leads to each.
    pub(crate) fn circles(&self) -> Vec<Circle> {
        let uses = self.uses();
        let mut circles = Vec::new();
        let mut placed = HashSet::new();
        for file in 0..self.files.len() {
            let members = circle_of(file, &uses);
            if members.len() > 1 && placed.insert(members.clone()) {
                circles.push(self.circle(&members, &uses));
            }
        }
        circles
    }

    fn circle(&self, members: &BTreeSet<usize>, uses: &Uses) -> Circle {
        let path = |file: &usize| self.files[*file].path.clone();
        let is_inside =
            |(from, to): &(usize, usize)| members.contains(from) && members.contains(to);
        let ties = uses
            .iter()
            .filter(|(edge, _)| is_inside(edge))
            .map(|((from, to), names)| Tie {
                from: path(from),
                to: path(to),
                names: names
                    .iter()
                    .map(|(name, line)| (name.clone(), *line))
                    .collect(),
            });
        let mut files = members.iter().map(path).collect::<Vec<_>>();
        files.sort();
        Circle {
            files,
            ties: ties.collect(),
        }
    }
}

/// The files that `file` leads to and that lead to it, itself among them.
fn circle_of(file: usize, uses: &Uses) -> BTreeSet<usize> {
    let forth = reach(file, uses, |(from, to)| (from, to));
    let back = reach(file, uses, |(from, to)| (to, from));
    forth.intersection(&back).copied().collect()
}

fn reach(
    start: usize,
    uses: &Uses,
    direction: impl Fn((usize, usize)) -> (usize, usize),
) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        for (from, to) in uses.keys().map(|edge| direction(*edge)) {
            if from == at && reached.insert(to) {
                open.push(to);
            }
        }
    }
    reached
}

impl Display for Circle {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} files use each other:", self.files.len())?;
        for Tie { from, to, names } in &self.ties {
            let names = names
                .iter()
                .map(|(name, line)| format!("{name} (line {line})"));
            let names = names.collect::<Vec<_>>().join(", ");
            writeln!(formatter, "  {from} -> {to}: {names}")?;
        }
        Ok(())
    }
}
