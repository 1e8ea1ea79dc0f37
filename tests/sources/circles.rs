//! Which file uses which, and the circles in that: among files, and among the folders and files
//! that lie side by side.
//!
//! A file uses another when a path in it leads to an item that the other defines, in whatever
//! module the path found it: a re-export is passed through. To declare a module, to import one
//! and to name one on the way is no use of its file.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::{self, Display, Formatter},
};

use super::{modules::House, resolve::End};

/// Files, or modules with all below them, that use each other, with all the ties between them.
pub(crate) struct Circle {
    /// What the members are, for people.
    kind: &'static str,
    /// Sorted.
    pub(crate) members: Vec<String>,
    ties: Vec<Tie>,
}

/// What `from` names of the items of `to`, with the first line of each.
struct Tie {
    from: String,
    to: String,
    names: Vec<(String, usize)>,
}

/// By user and used, which are numbers of files or of modules: the names, with the lines where they
/// first are.
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

    /// All circles of files: the largest sets of files of which each leads to each.
    pub(crate) fn circles(&self) -> Vec<Circle> {
        circles("files", &self.uses(), |file| self.files[file].path.clone())
    }

    /// All circles among the modules of one module, each taken with all that is below it.
    pub(crate) fn folder_circles(&self) -> Vec<Circle> {
        let mut folders = Uses::new();
        for ((from, to), names) in self.uses() {
            if let Some(edge) = self.apart(self.module_of(from), self.module_of(to)) {
                let file = &self.files[from].path;
                let names = names
                    .into_iter()
                    .map(|(name, line)| (format!("{name} in {file}"), line));
                folders.entry(edge).or_default().extend(names);
            }
        }
        circles("modules", &folders, |module| {
            self.modules[module].path.clone()
        })
    }

    /// The module that a file is.
    fn module_of(&self, file: usize) -> usize {
        self.modules
            .iter()
            .position(|node| node.file == file && node.is_file())
            .expect("every file of the tree is a module")
    }

    /// Where the ways from the crate to two modules part. `None`: one lies in the other.
    fn apart(&self, from: usize, to: usize) -> Option<(usize, usize)> {
        let way = |module| {
            let parent = |module: &usize| self.modules[*module].parent;
            let mut way = Vec::from_iter(std::iter::successors(Some(module), parent));
            way.reverse();
            way
        };
        let (from, to) = (way(from), way(to));
        from.into_iter().zip(to).find(|(from, to)| from != to)
    }
}

/// The circles of `uses`, whose numbers have names.
fn circles(kind: &'static str, uses: &Uses, name: impl Fn(usize) -> String) -> Vec<Circle> {
    let mut circles = Vec::new();
    let mut placed = HashSet::new();
    let forth = Leads::of(uses.keys().copied());
    let back = Leads::of(uses.keys().map(|(from, to)| (*to, *from)));
    for start in forth.0.keys() {
        // All that it leads to and that lead to it, itself among them.
        let members = &forth.reach(*start) & &back.reach(*start);
        if members.len() > 1 && placed.insert(members.clone()) {
            let is_inside =
                |(from, to): &(usize, usize)| members.contains(from) && members.contains(to);
            let ties = uses.iter().filter(|(edge, _)| is_inside(edge));
            let ties = ties.map(|((from, to), names)| Tie {
                from: name(*from),
                to: name(*to),
                names: names
                    .iter()
                    .map(|(name, line)| (name.clone(), *line))
                    .collect(),
            });
            let ties = ties.collect();
            let mut members = members.into_iter().map(&name).collect::<Vec<_>>();
            members.sort();
            circles.push(Circle {
                kind,
                members,
                ties,
            });
        }
    }
    circles
}

/// Where each leads at once.
struct Leads(BTreeMap<usize, Vec<usize>>);

impl Leads {
    fn of(edges: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut leads = BTreeMap::<_, Vec<_>>::new();
        for (from, to) in edges {
            leads.entry(from).or_default().push(to);
        }
        Self(leads)
    }

    /// Where `start` leads in however many steps, itself among them.
    fn reach(&self, start: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([start]);
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            for to in self.0.get(&at).into_iter().flatten() {
                if reached.insert(*to) {
                    open.push(*to);
                }
            }
        }
        reached
    }
}

impl Display for Circle {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let (count, kind) = (self.members.len(), self.kind);
        writeln!(formatter, "{count} {kind} use each other:")?;
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
